/**
 * Attention of the next positions over keys and values kept from before: what the cached steps of decoders share. The cache
 * is an input that is only read, and the new keys and values are small outputs for the caller to store: an output that
 * holds all of a cache would be copied at each step.
 *
 * Dim letters: B batch, A heads of keys and values, P places of the cache, S new positions, d head width.
 */
import { concat, type Graph, reshape, type Shape, type Tensor } from "../graph/index.ts";
import { type Attend, attendInParts } from "./attention.ts";

/** The inputs and outputs of a cached step that concern its cache, by name. */
export const CACHE = {
  cacheMask: "cache_mask",
  newMask: "new_mask",
  newKeys: "new_keys",
  newValues: "new_values",
  /** The input that is the cache of keys of a block. */
  keys: (block: number) => `keys.${block}`,
  /** The input that is the cache of values of a block. */
  values: (block: number) => `values.${block}`,
} as const;

/** The shapes of the inputs. Masks are added to scores: 0 where a key may be seen, -Infinity elsewhere. */
export interface CacheShapes {
  /** Of the keys, and of the values, of each block: (B, A, P, d). */
  readonly cache: Shape;
  /** Broadcast to (B, A, S, P). */
  readonly cacheMask: Shape;
  /** Broadcast to (B, A, S, S). */
  readonly newMask: Shape;
}

/** The attention of each block over its cache. */
export interface CachedAttention {
  /** How a block attends: to its cache and to the new positions. */
  attentionOf(block: number): Attend;
  /** Makes what is new the outputs `new_keys` and `new_values`, f32 (depth, B, A, S, d), when all blocks have attended. */
  output(): void;
}

/** Adds the inputs `cache_mask` and `new_mask`, and with each block its `keys` and `values`. */
export function cachedAttention(graph: Graph, shapes: CacheShapes): CachedAttention {
  const cacheMask = graph.input(CACHE.cacheMask, "f32", shapes.cacheMask);
  const newMask = graph.input(CACHE.newMask, "f32", shapes.newMask);
  const fresh: Record<"keys" | "values", Tensor[]> = { keys: [], values: [] };
  return {
    attentionOf: (block) => {
      const cache = (name: string) => graph.input(name, "f32", shapes.cache);
      const old = { keys: cache(CACHE.keys(block)), values: cache(CACHE.values(block)), mask: cacheMask };
      return (q, keys, values) => {
        fresh.keys.push(reshape(keys, [1, ...keys.shape]));
        fresh.values.push(reshape(values, [1, ...values.shape]));
        return attendInParts(q, old, { keys, values, mask: newMask });
      };
    },
    output: () => {
      graph.output(CACHE.newKeys, concat(fresh.keys, 0));
      graph.output(CACHE.newValues, concat(fresh.values, 0));
    },
  };
}
