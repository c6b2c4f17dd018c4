/** `toklip/text`: cleaning, tokenizers, prompt templates. */
export * from "./bpe-trainer.ts";
export * from "./canonicalize.ts";
export * from "./encoder-tokenizer.ts";
export * from "./fix-text.ts";
export * from "./templates.ts";
export * from "./text-stream.ts";
export * from "./text-tokenizer.ts";
