/**
 * Where `tokenize` puts its results, in an order that a kill at any moment leaves repairable: a picture's features
 * first, its line of ids last. So the ids file says what is done, and features beyond it are cut off on `--resume`.
 * Files are made when the first result comes: a run in which nothing succeeds leaves nothing.
 */
import { ToklipError } from "../core/index.ts";
import { type IdsSoFar, type RunSettings, UnfinishedNote } from "../node/ids-file.ts";
import { RowFile } from "../node/row-file.ts";
import { LineFile } from "../node/text-lines.ts";
import { type DescribedIdsLine, formatIdsLine } from "../pipelines/ids-line.ts";
import type { TokenizedImage } from "../pipelines/tokenize.ts";
import type { Output } from "./output.ts";

export interface TokenizeTarget {
  /** The file of ids; standard output without it. */
  readonly out?: string | undefined;
  /** The file of features. */
  readonly features?: string | undefined;
  readonly stdout: Output;
  /** What an earlier run left. */
  readonly soFar: IdsSoFar;
  /** Of the model: ids a picture, and the width of a feature. */
  readonly tokens: number;
  readonly width: number;
  /** What must be the same when the run is continued. */
  readonly settings: RunSettings;
}

/** The files of one run. */
export class TokenizeOutput {
  private readonly target: TokenizeTarget;
  private readonly lines: { line(text: string): Promise<void> };
  private readonly file: LineFile | undefined;
  private readonly note: UnfinishedNote | undefined;
  private readonly names: string[];
  private rows: RowFile | undefined;
  private begun = false;
  private stored = false;

  constructor(target: TokenizeTarget) {
    this.target = target;
    this.file = target.out === undefined ? undefined : new LineFile(target.out, { keepBytes: target.soFar.bytes });
    this.note = target.out === undefined ? undefined : new UnfinishedNote(target.out);
    this.lines = this.file ?? target.stdout;
    this.names = target.features === undefined ? [] : [...target.soFar.done];
  }

  /** Stores one picture's results. @throws FILE_WRITE_FAILED, RESUME_MISMATCH */
  async add(result: TokenizedImage & DescribedIdsLine): Promise<void> {
    await this.begin();
    if (this.target.features !== undefined) await this.addFeatures(this.target.features, result);
    this.stored = true;
    await this.lines.line(formatIdsLine(result));
  }

  /** Ends the run: the features file gets its name, the note of an unfinished run goes. */
  async finish(metadata: Readonly<Record<string, string>>): Promise<void> {
    const { features, soFar } = this.target;
    // Where every picture was done already, the earlier run may have ended before its features were put together.
    const continued = features !== undefined && soFar.done.size > 0 && (await RowFile.hasParts(features));
    if (continued) this.rows ??= await this.openRows(features);
    await this.rows?.finish({ names: this.names, metadata });
    await this.file?.close();
    await this.note?.remove();
  }

  /** Leaves a run that failed or was interrupted: what can be continued stays, what cannot goes. */
  async leave(): Promise<void> {
    await this.file?.close();
    await this.rows?.close();
    const { out, features, soFar } = this.target;
    const nothing = !this.stored && soFar.done.size === 0;
    if (nothing && this.begun) await this.note?.remove();
    if (features !== undefined && (out === undefined || nothing)) await RowFile.discard(features);
  }

  private async begin(): Promise<void> {
    if (this.begun) return;
    this.begun = true;
    await this.note?.write(this.target.settings);
  }

  private async addFeatures(path: string, { file, tokenFeatures, imageFeatures }: TokenizedImage & { file: string }) {
    if (!tokenFeatures || !imageFeatures) throw new ToklipError("INTERNAL", `${file}: came without features`);
    this.rows ??= await this.openRows(path);
    await this.rows.append({ token_features: tokenFeatures, image_features: imageFeatures });
    this.names.push(file);
  }

  private openRows(path: string): Promise<RowFile> {
    const { tokens, width, soFar } = this.target;
    const tensors = [
      { name: "token_features", rowShape: [tokens, width] },
      { name: "image_features", rowShape: [width] },
    ];
    return RowFile.open(path, tensors, { keepRows: soFar.done.size });
  }
}
