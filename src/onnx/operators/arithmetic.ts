/** Elementwise operators on what is known while importing: numbers by arithmetic, sizes as far as they can be. */
import type { DType } from "../../core/index.ts";
import { broadcastShapes, type Dim, dimProduct, isStatic } from "../../graph/index.ts";
import { broadcastStrides, divideDims, isKnown, type Known, type Value, walk } from "./value.ts";

type Binary = (x: number, y: number, dtype: DType) => number;

const truth =
  (f: (x: number, y: number) => boolean): Binary =>
  (x, y) =>
    Number(f(x, y));

/** A result as its dtype holds it: floats are rounded after every operator, as a run would, so that what is cut off is the same. */
const held = (value: number, dtype: DType): number => (dtype === "f32" ? Math.fround(value) : value);

/** Operators of two numbers; the division of whole numbers drops the fraction. */
const BINARY: Readonly<Record<string, Binary>> = {
  Add: (x, y) => x + y,
  Sub: (x, y) => x - y,
  Mul: (x, y) => x * y,
  Div: (x, y, dtype) => (dtype === "f32" ? x / y : Math.trunc(x / y)),
  Mod: (x, y) => x - Math.floor(x / y) * y,
  Pow: (x, y) => x ** y,
  Min: (x, y) => Math.min(x, y),
  Max: (x, y) => Math.max(x, y),
  Equal: truth((x, y) => x === y),
  Less: truth((x, y) => x < y),
  LessOrEqual: truth((x, y) => x <= y),
  Greater: truth((x, y) => x > y),
  GreaterOrEqual: truth((x, y) => x >= y),
  And: (x, y) => x & y,
  Or: (x, y) => x | y,
};

const CONDITIONS = new Set(["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or"]);

/** What of the arithmetic holds for every value of a symbolic size; undefined where it depends. */
const SYMBOLIC: Readonly<Record<string, (x: Dim, y: Dim) => Dim | undefined>> = {
  Add: (x, y) => (y === 0 ? x : x === 0 ? y : undefined),
  Sub: (x, y) => (y === 0 ? x : x === y ? 0 : undefined),
  Mul: (x, y) =>
    [x, y].every((dim) => !isStatic(dim) || (Number.isInteger(dim) && dim >= 0)) ? dimProduct([x, y]) : undefined,
  Div: divideDims,
  // Sizes are positive: exporters ask whether they are -1.
  Equal: (x, y) => (x === y ? 1 : Number(isStatic(x) ? x : y) <= 0 ? 0 : undefined),
};

/** A binary operator on known values, broadcast; undefined where it cannot be computed yet. */
export function foldBinary(opType: string, a: Value, b: Value): Known | undefined {
  const f = BINARY[opType];
  if (f === undefined || !isKnown(a) || !isKnown(b)) return undefined;
  const shape = broadcastShapes(a.shape, b.shape) as number[];
  const [left, right] = [a, b].map(({ shape: own, items }) =>
    walk(shape, broadcastStrides(own, shape)).map((offset) => items[offset]!),
  ) as [Dim[], Dim[]];
  const items = left.map((x, i) => {
    const y = right[i]!;
    return isStatic(x) && isStatic(y) ? held(f(x, y, a.dtype), a.dtype) : SYMBOLIC[opType]?.(x, y);
  });
  if (items.includes(undefined)) return undefined;
  return { dtype: CONDITIONS.has(opType) ? "bool" : a.dtype, shape, items: items as Dim[] };
}

const UNARY: Readonly<Record<string, (x: number) => number>> = {
  Abs: Math.abs,
  Ceil: Math.ceil,
  Exp: Math.exp,
  Floor: Math.floor,
  Log: Math.log,
  Neg: (x) => -x,
  Not: (x) => Number(x === 0),
  Reciprocal: (x) => 1 / x,
  Round: (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)),
  Sign: Math.sign,
  Sqrt: Math.sqrt,
};

/** A unary operator on a known value; undefined where it cannot be computed yet. */
export function foldUnary(opType: string, x: Value): Known | undefined {
  const f = UNARY[opType];
  if (f === undefined || !isKnown(x) || !x.items.every(isStatic)) return undefined;
  return { ...x, items: (x.items as readonly number[]).map((item) => held(f(item), x.dtype)) };
}

/** Elements of `a` where the condition is true, of `b` elsewhere; undefined where one is not known. */
export function foldWhere(condition: Value, a: Value, b: Value): Known | undefined {
  if (!isKnown(condition) || !isKnown(a) || !isKnown(b)) return undefined;
  const shape = broadcastShapes(broadcastShapes(condition.shape, a.shape), b.shape) as number[];
  const [chosen, first, second] = [condition, a, b].map((value) =>
    walk(shape, broadcastStrides(value.shape, shape)).map((offset) => value.items[offset]!),
  ) as [Dim[], Dim[], Dim[]];
  return { dtype: a.dtype, shape, items: chosen.map((yes, i) => (yes === 0 ? second[i]! : first[i]!)) };
}

const REDUCTIONS: Readonly<Record<string, (items: readonly Dim[]) => Dim | undefined>> = {
  ReduceMax: (items) => (items.every(isStatic) ? Math.max(...items) : undefined),
  ReduceProd: dimProduct,
  ReduceSum: (items) => (items.every(isStatic) ? items.reduce((sum, item) => sum + item, 0) : undefined),
};

/** A reduction of all axes of a known value, which stay with size 1; undefined where it cannot be computed yet. */
export function foldReduction(opType: string, x: Value, axes: readonly number[]): Known | undefined {
  if (!isKnown(x) || axes.length < x.shape.length) return undefined;
  const item = REDUCTIONS[opType]?.(x.items);
  if (item === undefined) return undefined;
  return { ...x, shape: x.shape.map(() => 1), items: [isStatic(item) ? held(item, x.dtype) : item] };
}
