/** `toklip/runtime`: compiling and running graphs. */
export * from "./compile.ts";
export * from "./session.ts";
