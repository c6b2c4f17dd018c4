/** `toklip/core`: errors, dtypes, arrays, random numbers, byte sources, progress. */
export * from "./byte-source.ts";
export * from "./dtype.ts";
export * from "./errors.ts";
export * from "./ndarray.ts";
export * from "./progress.ts";
export * from "./random.ts";
