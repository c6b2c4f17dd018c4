/**
 * The samples of one shard: files of a tar archive that follow one another and share a name up to the first dot, as the
 * webdataset package groups them (https://github.com/webdataset/webdataset). A name that comes again with a file the
 * sample already has begins a new sample. Files whose own name begins with a dot or has none belong to no sample.
 */
import { type ErrorCode, messageOf, ToklipError } from "../core/index.ts";
import { readTar, type TarEntry, type TarOptions, TruncatedTar } from "../files/tar.ts";
import type { BadSample } from "./dataset.ts";
import { type Description, describePicture, SIDECARS } from "./sidecar.ts";

/** A sample with the bytes of its picture, or of what stands for it, in memory. */
export interface ShardSample extends Description {
  readonly key: string;
  readonly content: Uint8Array;
}

/** Which of a sample's files is its content, the first of these that comes. */
export interface ShardContent {
  readonly extensions: ReadonlySet<string>;
  /** What a sample without one lacks, as it is counted: "no image". */
  readonly missing: string;
  /** The same as a sentence. */
  readonly problem: string;
}

/** What comes next in a shard: a sample, or why there is none. */
export interface ShardEvent {
  readonly sample?: ShardSample;
  readonly bad?: BadSample;
  /** Where the sample begins in the shard. */
  readonly start: number;
  /** Where reading goes on after it; absent where nothing more can be read. */
  readonly end?: number;
}

/** How a shard's samples are read. */
export interface ShardOptions {
  /** What to call the shard in keys and messages. */
  readonly name: string;
  /** Where in the shard the bytes begin: where a sample does. */
  readonly start: number;
  /** The bytes are those of one sample, and not the rest of the shard. */
  readonly part?: boolean;
  readonly content: ShardContent;
  readonly maxContentBytes: number;
  readonly linePerCaption: boolean;
}

const MAX_SIDECAR_BYTES = 2 ** 20;

/** The failures that are a shard's own, and what they are called when they are counted. */
const REASONS: Partial<Record<ErrorCode, string>> = {
  FILE_CORRUPT: "damaged shard",
  FILE_UNSUPPORTED: "damaged shard",
  FILE_NOT_FOUND: "unreadable shard",
  FILE_READ_FAILED: "unreadable shard",
  DOWNLOAD_FAILED: "unreadable shard",
  OFFLINE: "unreadable shard",
};

/**
 * Reads the samples of a shard in order. Where the shard is damaged, what came whole before that is given, then a bad
 * sample that names the damage.
 * @throws what `chunks` throws that is not the shard's own failure, such as ABORTED
 */
export async function* readShardSamples(
  chunks: AsyncIterable<Uint8Array>,
  options: ShardOptions,
): AsyncGenerator<ShardEvent, void, undefined> {
  const { name, start, part, maxContentBytes } = options;
  const tar: TarOptions = { name, start, part, maxEntryBytes: Math.max(maxContentBytes, MAX_SIDECAR_BYTES) };
  let group: SampleGroup | undefined;
  let damage: BadSample | undefined;
  try {
    for await (const entry of readTar(chunks, tar)) {
      const member = memberOf(entry.name);
      if (member === undefined) continue;
      if (group?.takes(member) === false) {
        yield group.close();
        group = undefined;
      }
      group ??= new SampleGroup(member.prefix, entry, options);
      await group.add(member.extension, entry);
    }
  } catch (thrown) {
    damage = { key: name, reason: reasonOf(thrown), message: messageOf(thrown) };
  }
  if (group?.isWhole) yield group.close();
  if (damage !== undefined) yield { bad: damage, start };
}

/** What a shard's failure counts as. @throws what is no failure of the shard */
export function reasonOf(thrown: unknown): string {
  if (thrown instanceof TruncatedTar) return "truncated shard";
  const reason = thrown instanceof ToklipError ? REASONS[thrown.code] : undefined;
  if (reason === undefined) throw thrown;
  return reason;
}

/** A file's place in a sample: its name up to the first dot, folders included, and what comes after. */
interface Member {
  readonly prefix: string;
  readonly extension: string;
}

function memberOf(name: string): Member | undefined {
  const base = name.lastIndexOf("/") + 1;
  const dot = name.indexOf(".", base);
  if (dot <= base) return undefined;
  return { prefix: name.slice(0, dot).replace(/^(\.\/)+/, ""), extension: name.slice(dot + 1).toLowerCase() };
}

/** The files of one sample, as they come. */
class SampleGroup {
  /** False while a file's bytes are on their way. */
  isWhole = true;
  private readonly prefix: string;
  private readonly options: ShardOptions;
  private readonly start: number;
  private end: number;
  private content: Uint8Array | undefined;
  private readonly seen = new Set<string>();
  private readonly sidecars = new Map<string, Uint8Array>();
  private tooLarge: string | undefined;

  constructor(prefix: string, first: TarEntry, options: ShardOptions) {
    this.prefix = prefix;
    this.options = options;
    this.start = first.offset;
    this.end = first.end;
  }

  takes({ prefix, extension }: Member): boolean {
    return prefix === this.prefix && !this.seen.has(extension);
  }

  async add(extension: string, entry: TarEntry): Promise<void> {
    this.isWhole = false;
    const isContent = this.isContent(extension);
    if (isContent || SIDECARS.has(extension)) {
      this.seen.add(extension); // of these alone, so that memory is bounded
      await this.keep(extension, entry, isContent ? this.options.maxContentBytes : MAX_SIDECAR_BYTES);
    }
    await entry.skip();
    this.end = entry.end;
    this.isWhole = true;
  }

  private isContent(extension: string): boolean {
    return this.options.content.extensions.has(extension);
  }

  /** Reads what is of use: the first file that is content, the files beside it. */
  private async keep(extension: string, entry: TarEntry, limit: number): Promise<void> {
    const isContent = this.isContent(extension);
    if (isContent && this.content !== undefined) return;
    if (entry.size > limit) this.tooLarge = `its .${extension} has ${entry.size} bytes, the limit is ${limit}`;
    else if (isContent) this.content = await entry.read();
    else this.sidecars.set(extension, await entry.read());
  }

  /** The sample, all its files having come. */
  close(): ShardEvent {
    const { start, end, content, tooLarge } = this;
    const { missing, problem } = this.options.content;
    const key = `${this.options.name}/${this.prefix}`;
    const refuse = (reason: string, message: string) => ({
      bad: { key, reason, message: `${key}: ${message}` },
      start,
      end,
    });
    if (tooLarge !== undefined) return refuse("too large", tooLarge);
    if (content === undefined) return refuse(missing, problem);
    try {
      return { sample: { key, content, ...describePicture(this.sidecars, this.options.linePerCaption) }, start, end };
    } catch (thrown) {
      if (!(thrown instanceof ToklipError)) throw thrown;
      return refuse("malformed text", messageOf(thrown));
    }
  }
}
