/**
 * Dimensions: whole numbers, or symbolic sizes written as a product such as `"B"` or `"256*B"`.
 * Only products are kept, because batch-like sizes are only ever multiplied; sums are refused where they would arise.
 */
import { ToklipError } from "../core/index.ts";

/** A known size, or a product of symbols such as `"B"` or `"256*B"`. */
export type Dim = number | string;
/** The dimensions of a tensor, outermost first. */
export type Shape = readonly Dim[];

/** A product of a known factor and symbols. */
export interface Monomial {
  readonly factor: number;
  readonly symbols: readonly string[];
}

/** A dimension as its known factor and its symbols. */
export function dimSymbols(dim: Dim): Monomial {
  if (typeof dim === "number") return { factor: dim, symbols: [] };
  const parts = dim.split("*");
  const numeric = Number(parts[0]);
  return Number.isInteger(numeric) ? { factor: numeric, symbols: parts.slice(1) } : { factor: 1, symbols: parts };
}

function format({ factor, symbols }: Monomial): Dim {
  if (symbols.length === 0 || factor === 0) return factor;
  const sorted = [...symbols].sort();
  return (factor === 1 ? sorted : [String(factor), ...sorted]).join("*");
}

/** The product of dimensions. */
export function dimProduct(dims: Shape): Dim {
  let factor = 1;
  const symbols: string[] = [];
  for (const dim of dims) {
    const monomial = dimSymbols(dim);
    factor *= monomial.factor;
    symbols.push(...monomial.symbols);
  }
  return format({ factor, symbols });
}

/** The value of a dimension once its symbols are bound. */
export function bindDim(dim: Dim, bindings: ReadonlyMap<string, number>): number {
  const { factor, symbols } = dimSymbols(dim);
  return symbols.reduce((product, symbol) => {
    const value = bindings.get(symbol);
    if (value === undefined) throw new ToklipError("GRAPH_INVALID", `dimension ${dim}: ${symbol} is not bound`);
    return product * value;
  }, factor);
}

/** All dimensions of a shape, bound. */
export function bindShape(shape: Shape, bindings: ReadonlyMap<string, number>): number[] {
  return shape.map((dim) => bindDim(dim, bindings));
}

/** Whether a dimension is a known number. */
export function isStatic(dim: Dim): dim is number {
  return typeof dim === "number";
}

/** Whether two shapes have the same dimensions. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

/** A shape as messages show it: `(B, 3, 256)`. */
export function formatShape(shape: Shape): string {
  return `(${shape.join(", ")})`;
}

/** The shape of a broadcast result, by NumPy's rule. */
export function broadcastShapes(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x === y || y === 1) return x;
    if (x === 1) return y;
    throw new ToklipError("SHAPE_MISMATCH", `shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast`);
  });
}

/** A non-negative axis. */
export function resolveAxis(axis: number, rank: number): number {
  const resolved = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || resolved < 0 || resolved >= rank) {
    throw new ToklipError("GRAPH_INVALID", `axis ${axis} is outside rank ${rank}`);
  }
  return resolved;
}
