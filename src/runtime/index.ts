/** `toklip/runtime`: compiling and running graphs. */
export * from "./compile.ts";
export * from "./fast-convolution.ts";
export * from "./quantization.ts";
export * from "./session.ts";
export * from "./weights.ts";
