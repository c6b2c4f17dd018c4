/** Which text goes with a picture: one of its captions, perhaps in a sentence. */
import { type NDArray, Random } from "../core/index.ts";
import type { DescribedSample } from "./dataset.ts";
import { type StreamOwner, sampleSeed } from "./sample-seed.ts";

/** How a caption is chosen. */
export interface CaptionOptions {
  /** `random` chooses by the sample's random stream, another one each epoch. Default `first`. */
  readonly captions?: "first" | "random" | undefined;
  /** Sentences with `{}` for the caption, chosen in the same way: for captions that are mere names. */
  readonly templates?: readonly string[] | undefined;
}

/** What makes text ids of captions: a `TextTokenizer`. */
export interface CaptionTokenizer {
  /** Text ids i32 (B, T) of B texts, padded to T = `contextLength`. */
  encode(texts: readonly string[], options: { readonly contextLength: number }): NDArray<"i32">;
}

/** The captions that say something. */
export function usableCaptions({ captions }: Pick<DescribedSample, "captions">): readonly string[] {
  return captions.filter((caption) => caption.trim() !== "");
}

/** The text of a sample in an epoch; empty where it has no caption. */
export function captionOf(sample: DescribedSample, owner: StreamOwner, options: CaptionOptions): string {
  const { captions = "first", templates = ["{}"] } = options;
  const texts = usableCaptions(sample);
  if (texts.length === 0) return "";
  const random = new Random(sampleSeed(owner, "caption"));
  const choose = <T>(list: readonly T[]): T => list[captions === "first" ? 0 : random.integer(list.length)]!;
  const text = choose(texts);
  return choose(templates).replaceAll("{}", () => text);
}
