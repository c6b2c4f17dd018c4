/** One operator of a model that is being imported: its inputs and attributes, checked as they are asked for. */
import { type NDArray, ToklipError } from "../../core/index.ts";
import { formatShape, type Graph, isStatic, type Tensor } from "../../graph/index.ts";
import type { OnnxAttribute, OnnxInitializer, OnnxNode } from "../model.ts";
import { isKnown, type Known, knownArray, toTensor, type Value } from "./value.ts";

/** What an operator becomes: one result, or one for each output. */
export type Row = (call: Call) => Value | readonly Value[];

/** What a call may ask of the import that it belongs to. */
export interface Context {
  readonly graph: Graph;
  /** The version of the operator set. */
  readonly opset: number;
  /** The elements of a tensor of the file. */
  decode(item: OnnxInitializer): NDArray;
  /** The tensor of the file that a weight stands for. */
  weight(tensor: Tensor): OnnxInitializer | undefined;
}

/** An operator with the values of its inputs; an input that is left out is undefined. */
export class Call {
  readonly node: OnnxNode;
  private readonly inputs: readonly (Value | undefined)[];
  private readonly context: Context;

  constructor(node: OnnxNode, inputs: readonly (Value | undefined)[], context: Context) {
    this.node = node;
    this.inputs = inputs;
    this.context = context;
  }

  get graph(): Graph {
    return this.context.graph;
  }

  get opset(): number {
    return this.context.opset;
  }

  /** Whether an input is given. */
  has(index: number): boolean {
    return this.inputs[index] !== undefined;
  }

  /** An input. @throws FILE_CORRUPT when it is left out. */
  value(index: number): Value {
    const value = this.inputs[index];
    if (value === undefined) throw new ToklipError("FILE_CORRUPT", `input ${index} is missing`);
    return value;
  }

  /** All inputs. @throws FILE_CORRUPT when there are none, or one is left out. */
  values(): readonly Value[] {
    if (this.inputs.length === 0) this.value(0);
    return this.inputs.map((_, i) => this.value(i));
  }

  /** An input as a tensor of the graph. */
  tensor(index: number): Tensor {
    return toTensor(this.graph, this.value(index));
  }

  /** An input that must be known while importing. @throws OP_UNSUPPORTED when it is computed from pictures. */
  known(index: number): Known {
    const value = this.value(index);
    const weight = isKnown(value) ? undefined : this.context.weight(value);
    if (weight !== undefined) return knownArray(this.context.decode(weight));
    if (!isKnown(value)) throw new ToklipError("OP_UNSUPPORTED", `input ${index} is not a constant`);
    return value;
  }

  /** An input of one number. */
  number(index: number): number {
    const { items } = this.known(index);
    if (items.length !== 1 || !isStatic(items[0]!)) {
      throw new ToklipError("OP_UNSUPPORTED", `input ${index} is not one number`);
    }
    return items[0];
  }

  /** An input of whole numbers. */
  integers(index: number): readonly number[] {
    const { items } = this.known(index);
    const other = items.find((item) => !Number.isInteger(item));
    if (other !== undefined) throw new ToklipError("OP_UNSUPPORTED", `input ${index} has ${other} for a whole number`);
    return items as readonly number[];
  }

  /** Whole numbers that older operator sets have as an attribute and newer ones as an input, if they are given. */
  settings(attribute: string, index: number): readonly number[] | undefined {
    return this.ints(attribute) ?? (this.has(index) ? this.integers(index) : undefined);
  }

  private attribute(name: string): OnnxAttribute | undefined {
    return Object.hasOwn(this.node.attributes, name) ? this.node.attributes[name] : undefined;
  }

  private wrong(name: string, expected: string): never {
    throw new ToklipError("FILE_CORRUPT", `attribute ${name} is not ${expected}`);
  }

  /** A whole number. */
  int(name: string, otherwise: number): number {
    const value = this.attribute(name) ?? otherwise;
    return typeof value === "number" && Number.isInteger(value) ? value : this.wrong(name, "a whole number");
  }

  /** Whole numbers, if they are given. */
  ints(name: string): readonly number[] | undefined {
    const value = this.attribute(name);
    if (value === undefined) return undefined;
    return Array.isArray(value) ? (value as readonly number[]) : this.wrong(name, "a list of whole numbers");
  }

  /** A number. */
  float(name: string, otherwise: number): number {
    const value = this.attribute(name) ?? { float: otherwise };
    return typeof value === "object" && "float" in value ? value.float : this.wrong(name, "a number");
  }

  /** A word. */
  text(name: string, otherwise: string): string {
    const value = this.attribute(name) ?? otherwise;
    return typeof value === "string" ? value : this.wrong(name, "text");
  }

  /** The elements of a tensor, or of one of the plain forms that `Constant` has beside it. */
  constant(...names: readonly string[]): Known | undefined {
    const name = names.find((candidate) => this.attribute(candidate) !== undefined);
    const value = name === undefined ? undefined : this.attribute(name)!;
    if (value === undefined) return undefined;
    if (typeof value === "number") return { dtype: "i64", shape: [], items: [value] };
    if (typeof value === "string") return this.wrong(name!, "a tensor of numbers");
    if ("tensor" in value) return knownArray(this.context.decode(value.tensor));
    if ("float" in value) return { dtype: "f32", shape: [], items: [value.float] };
    const [dtype, items] = "floats" in value ? (["f32", value.floats] as const) : (["i64", value] as const);
    return { dtype, shape: [items.length], items };
  }

  /** What an attribute's value is, refused. */
  refuse(what: string): never {
    throw new ToklipError("OP_UNSUPPORTED", `${what} is not supported`);
  }

  /** A picture (B, C, H, W) of known size. @throws OP_UNSUPPORTED for other ranks. */
  picture(index: number): Tensor {
    const x = this.tensor(index);
    if (x.shape.length !== 4 || !x.shape.slice(1).every(isStatic)) {
      this.refuse(`input ${index} of shape ${formatShape(x.shape)} instead of (B, C, H, W)`);
    }
    return x;
  }
}
