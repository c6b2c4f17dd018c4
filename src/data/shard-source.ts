/** What shards need of the platform: their bytes, in order, from any place. */

/** Which part of a shard. */
export interface ShardRange {
  /** The first byte. Default 0. */
  readonly start?: number;
  /** The byte after the last. Default the shard's end. */
  readonly end?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Opens shards by the names that the list of shards has: paths, addresses. */
export interface ShardSource {
  /**
   * The bytes of a shard, or of a part of it; fewer where the shard ends earlier. Nothing is opened before the first
   * bytes are asked for.
   * @throws FILE_NOT_FOUND, FILE_READ_FAILED, FILE_CORRUPT, DOWNLOAD_FAILED where this shard cannot be read; ABORTED;
   * DATA_INVALID for a name that no shard can have
   */
  open(shard: string, range?: ShardRange): AsyncIterable<Uint8Array>;
}
