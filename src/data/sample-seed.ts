/**
 * The random stream of a sample: a function of the run's seed, the epoch and the sample's key alone, so that neither the
 * number of workers or processes nor a resumed run changes a pixel.
 */
import { fnv1a } from "../core/index.ts";

/** What a stream decides. Each purpose has a stream of its own: one more draw for one does not shift the others. */
export type StreamPurpose = "pixels" | "caption" | "sequence";

/** Whose stream it is. */
export interface StreamOwner {
  readonly seed: number;
  readonly epoch: number;
  readonly key: string;
}

/** The seed of a sample's stream, in [0, 2^32). */
export function sampleSeed({ seed, epoch, key }: StreamOwner, purpose: StreamPurpose): number {
  return fnv1a(`${seed} ${epoch} ${purpose} ${key}`);
}

/** A number for what samples have in common, in [0, 2^31): FNV-1a of the concept, or of the key where there is none. */
export function conceptId({ concept, key }: { readonly concept?: string; readonly key: string }): number {
  return fnv1a(concept ?? key) & 0x7fffffff;
}
