/** `toklip/onnx`: graphs as ONNX files. */
export * from "./lowering.ts";
export * from "./model.ts";
export * from "./writer.ts";
