/** An ONNX model as plain data: what lowering makes and the writer serialises. Only what we use of the format. */
import type { DType, NDArray } from "../core/index.ts";
import type { AttributeValue, Shape } from "../graph/index.ts";

/** What an attribute of a node may hold: more than lowering makes, because files that are read have it. */
export type OnnxAttribute =
  | AttributeValue
  | { readonly floats: readonly number[] }
  | { readonly tensor: OnnxInitializer };

/** One operator call. */
export interface OnnxNode {
  readonly name: string;
  readonly opType: string;
  /** "" for the standard operators. */
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

/** The bytes of a weight in a file beside the model. */
export interface ExternalData {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** A constant tensor: weights among others. */
export interface OnnxInitializer {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array | ExternalData;
}

/** An input or output. */
export interface OnnxValue {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
}

/** A whole model. */
export interface OnnxModel {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxInitializer[];
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  /** Free text about the model: name and value. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The version of each operator set by domain, "" for the standard one; what lowering makes, where it is absent. */
  readonly opsets?: Readonly<Record<string, number>>;
}

/** Where the elements of a parameter come from when a graph becomes an ONNX model. */
export type Placement =
  /** Fed with every run, as training needs. */
  | { readonly kind: "input" }
  /** Written into the model. */
  | { readonly kind: "embedded"; readonly value: NDArray }
  /** Left in a file. The stored dtype may differ from the graph's: it is cast when the model loads. */
  | { readonly kind: "external"; readonly dtype: DType; readonly data: ExternalData };
