/** Opens whatever generates pictures: the checkpoint says what it is. */
import { holdsUnified } from "../pipelines/ar-files.ts";
import type { LlamaGenOptions } from "../pipelines/llamagen.ts";
import type { PictureGenerator } from "../pipelines/picture-generator.ts";
import type { UnifiedOptions } from "../pipelines/unified.ts";
import { nodePlatform } from "./platform.ts";

/** How a model is loaded, whichever it is: `vq` and `grid` are for a GPT of LlamaGen, `toklip` for a unified transformer. */
export type PictureGeneratorOptions = LlamaGenOptions & UnifiedOptions;

/**
 * Opens a unified transformer or a GPT of LlamaGen.
 * @param source the path of a .pt, .pth or .safetensors checkpoint, or a hub name ("owner/repo/file")
 * @throws what `Unified.load` and `LlamaGen.load` throw
 */
export async function openPictureGenerator(
  source: string,
  options: PictureGeneratorOptions,
): Promise<PictureGenerator> {
  const { signal, onProgress, download = false } = options;
  const location = await nodePlatform.locate(source, { signal, onProgress, download });
  const checkpoint = await nodePlatform.openCheckpoint(location);
  const isUnified = holdsUnified(checkpoint);
  await checkpoint.close();
  if (isUnified) return (await import("./unified.ts")).Unified.load(location, options);
  return (await import("./llamagen.ts")).LlamaGen.load(location, options);
}
