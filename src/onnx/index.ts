/** `toklip/onnx`: graphs as ONNX files, and ONNX files as graphs. */
export * from "./external-data.ts";
export * from "./import.ts";
export * from "./lowering.ts";
export * from "./model.ts";
export * from "./reader.ts";
export * from "./writer.ts";
