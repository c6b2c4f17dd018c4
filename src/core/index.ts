/** `toklip/core`: errors, dtypes, arrays, random numbers, hashes, byte sources, progress, ordered prefetching. */
export * from "./byte-source.ts";
export * from "./dtype.ts";
export * from "./errors.ts";
export * from "./hash.ts";
export * from "./ndarray.ts";
export * from "./prefetch.ts";
export * from "./progress.ts";
export * from "./random.ts";
