/**
 * The models that come with the package, by name. A name here means the same on every platform and comes before any file
 * or folder of that name; a platform knows where the package lies.
 */

/** The model of who names none. */
export const DEFAULT_MODEL = "toklip-mini";

/** Names of files that come with the package, and their paths in it: a checkpoint by its model's name, and its tokenizer. */
export const BUNDLED_FILES: Readonly<Record<string, string>> = {
  "toklip-mini": "models/toklip-mini/toklip-mini.safetensors",
  "toklip-mini/tokenizer.json": "models/toklip-mini/tokenizer.json",
};
