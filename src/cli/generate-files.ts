/**
 * The files of `generate`: a PNG for each picture, previews beside it, and lines of ids. Each appears whole or not at all;
 * where the work ends early, finished pictures stay, and neither previews of others nor the file of ids do.
 */
import { rm } from "node:fs/promises";
import path from "node:path";
import { ToklipError } from "../core/index.ts";
import type { AtomicSink } from "../files/index.ts";
import type { Image } from "../image/image.ts";
import { openAtomicFile } from "../node/atomic-file.ts";
import { makeFolder } from "../node/make-folder.ts";
import { formatIdsLine } from "../pipelines/ids-line.ts";
import type { GeneratedPicture } from "../pipelines/picture-generator.ts";
import type { Subject } from "./generate-subjects.ts";
import { checkOutput, writeWhole } from "./output-path.ts";

/** Where results go. */
export interface FileFlags {
  /** A folder, or one .png file. */
  readonly out?: string;
  /** The file of ids. */
  readonly ids?: string;
  /** A preview after each so many ids. */
  readonly previews?: number;
  readonly overwrite?: boolean;
}

/** What there will be. */
export interface FilePlan {
  readonly flags: FileFlags;
  readonly subjects: readonly Subject[];
  /** Pictures of each subject. */
  readonly count: number;
  readonly seed: number;
  /** Ids of a picture. */
  readonly total: number;
  readonly encodePng: (image: Image) => Promise<Uint8Array>;
}

const PNG = /\.png$/i;

/** Names and writes the files of one run. */
export class GeneratedFiles {
  private readonly plan: FilePlan;
  private ids: AtomicSink | undefined;
  /** Previews of pictures that are not finished, by the pictures' places. */
  private readonly previews = new Map<number, string[]>();

  constructor(plan: FilePlan) {
    this.plan = plan;
  }

  /**
   * Checks that every file can be made, before the work.
   * @throws USAGE for several pictures and one file; FILE_EXISTS, FILE_WRITE_FAILED
   */
  async check(): Promise<void> {
    const { flags, subjects, count, total } = this.plan;
    const { out, ids, previews: every = total } = flags;
    const pictures = subjects.length * count;
    if (ids !== undefined) await checkOutput(ids, flags);
    if (out === undefined) return;
    if (PNG.test(out) && pictures > 1) {
      throw new ToklipError("USAGE", `${out} is one picture, and ${pictures} are asked for: name a folder by --out`);
    }
    await makeFolder(PNG.test(out) ? path.dirname(out) : out);
    for (let index = 0; index < pictures; index++) {
      await checkOutput(this.fileOf(index), flags);
      for (let ids = every; ids < total; ids += every) await checkOutput(this.previewOf(index, ids), flags);
    }
  }

  /** Begins the file of ids. */
  async open(signal: AbortSignal): Promise<void> {
    const { ids, overwrite } = this.plan.flags;
    if (ids !== undefined) this.ids = await openAtomicFile(ids, { overwrite, signal });
  }

  /** Writes what there is of a picture after so many ids. The last is the picture itself. */
  async addPreview(index: number, count: number, image: Image): Promise<void> {
    const { flags, total, encodePng } = this.plan;
    if (count === total) return;
    const file = this.previewOf(index, count);
    await writeWhole(file, await encodePng(image), flags);
    this.previews.set(index, [...(this.previews.get(index) ?? []), file]);
  }

  /** Writes a picture and its ids. Gives the picture's path, where it has one. */
  async add({ index, image, ids }: GeneratedPicture): Promise<string | undefined> {
    const { flags, encodePng } = this.plan;
    const file = this.fileOf(index);
    const isWritten = flags.out !== undefined && image !== undefined;
    if (isWritten) await writeWhole(file, await encodePng(image), flags);
    this.previews.delete(index);
    const line = formatIdsLine({ file, grid: ids.shape as [number, number], ids: ids.data });
    await this.ids?.write(new TextEncoder().encode(`${line}\n`));
    return isWritten ? file : undefined;
  }

  /** Ends the run. */
  async finish(): Promise<void> {
    await this.ids?.commit();
  }

  /** Leaves a run that failed or was interrupted. */
  async leave(): Promise<void> {
    await this.ids?.abort();
    for (const file of [...this.previews.values()].flat()) await rm(file, { force: true });
  }

  /** The path of a picture, or the name it would have in a folder. */
  private fileOf(index: number): string {
    const { flags, subjects, count, seed } = this.plan;
    if (flags.out !== undefined && PNG.test(flags.out)) return flags.out;
    const { slug } = subjects[Math.floor(index / count)]!;
    return path.join(flags.out ?? "", `${slug}-seed-${seed + index}.png`);
  }

  private previewOf(index: number, count: number): string {
    return this.fileOf(index).replace(PNG, `-ids-${count}.png`);
  }
}
