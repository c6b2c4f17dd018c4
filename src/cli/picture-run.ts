/** What the verbs over many pictures share: the names, the count beside the work, skipped pictures, the closing line. */
import type { ToklipError } from "../core/index.ts";
import { countImages, type FindImagesOptions, findImages, type ImageInputs } from "../node/image-files.ts";
import type { PictureResult } from "../pipelines/pictures.ts";
import type { CliContext } from "./context.ts";
import { formatDuration } from "./output.ts";
import type { Progress } from "./progress.ts";

export interface PictureRunOptions {
  /** The verb, as progress names it. */
  readonly stage: string;
  /** The verb's participle, as the closing line names it: "tokenized". */
  readonly participle: string;
  readonly progress: Progress;
  readonly strict?: boolean | undefined;
}

/** Counts what becomes of pictures and tells of it. */
export class PictureRun {
  done = 0;
  private failed = 0;
  private earlier = 0;
  private total: number | undefined;
  private startedAt: number;
  private readonly context: CliContext;
  private readonly options: PictureRunOptions;

  constructor(context: CliContext, options: PictureRunOptions) {
    this.context = context;
    this.options = options;
    this.startedAt = context.now();
  }

  /**
   * The pictures' names. They are also counted, beside the work, so that the remaining time can be told.
   * @param skip names that an earlier run has done
   */
  async *names(
    inputs: readonly ImageInputs[],
    { skip, exclude }: { skip?: ReadonlySet<string>; exclude?: string } = {},
  ): AsyncGenerator<string, void, undefined> {
    const { signal } = this.context;
    const options: FindImagesOptions = { signal, ...(exclude !== undefined && { exclude }) };
    countImages(inputs, options).then(
      (count) => {
        this.total = count;
      },
      () => {}, // without a count there is no remaining time; what is wrong is told by the walk below
    );
    const onUnreadable = this.options.strict ? undefined : (_: string, error: ToklipError) => this.skipped(error);
    for await (const name of findImages(inputs, { ...options, onUnreadable })) {
      if (skip?.has(name)) this.earlier++;
      else yield name;
    }
  }

  /** Hands each good result to `take` and tells of the others. @throws what `--strict` stops at */
  async each<T extends object>(
    results: AsyncIterable<PictureResult<T>>,
    take: (result: T & { readonly file: string }) => Promise<void>,
  ): Promise<void> {
    this.startedAt = this.context.now();
    for await (const result of results) {
      if (result.error) {
        if (this.options.strict) throw result.error;
        this.skipped(result.error);
      } else {
        await take(result as T & { readonly file: string });
        this.done++;
      }
      this.tell();
    }
  }

  /** Prints the closing line. Gives the exit status: 1 when there were pictures and every one failed. */
  finish(): number {
    const { progress, participle } = this.options;
    const seconds = this.context.now() - this.startedAt;
    const rate = seconds > 0 && this.done > 0 ? `, ${Number((this.done / seconds).toPrecision(3))} images/s` : "";
    const parts = [
      `${this.done} ${this.done === 1 ? "picture" : "pictures"} ${participle}`,
      ...(this.earlier > 0 ? [`${this.earlier} done before`] : []),
      ...(this.failed > 0 ? [`${this.failed} skipped`] : []),
    ];
    progress.stop();
    progress.note(`${parts.join(", ")} (${formatDuration(seconds)}${rate})`);
    return this.failed > 0 && this.done + this.earlier === 0 ? 1 : 0;
  }

  private skipped(error: ToklipError): void {
    this.failed++;
    this.options.progress.warn(`skipped: ${error.message}; ${error.advice}`);
  }

  private tell(): void {
    const done = this.done + this.failed + this.earlier;
    const { stage, progress } = this.options;
    progress.report({ stage, done, unit: "images", ...(this.total !== undefined && { total: this.total }) });
  }
}

/** Fails where no picture is found, before a model is loaded. @throws NO_IMAGES, FILE_NOT_FOUND */
export async function requirePictures(inputs: readonly ImageInputs[], options: FindImagesOptions = {}): Promise<void> {
  for await (const _ of findImages(inputs, { ...options, onUnreadable: () => {} })) return;
}
