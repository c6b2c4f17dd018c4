/** `toklip/graph`: the tensor IR. */
export * from "./cost.ts";
export * from "./dim.ts";
export * from "./functions.ts";
export * from "./gradient.ts";
export * from "./graph.ts";
export * from "./interpreter.ts";
export * from "./memory.ts";
export * from "./op.ts";
export * from "./op-table.ts";
export { onnxDtype } from "./ops/elementwise.ts";
export type { Conv2dAttrs, ConvTranspose2dAttrs } from "./ops/linear.ts";
export type { MaxPool2dAttrs } from "./ops/window-pooling.ts";
export * from "./rewriter.ts";
export * from "./simplifier.ts";
export * from "./verifier.ts";
