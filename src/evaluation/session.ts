/**
 * What every evaluation works with: a loaded model, data sets, features that are made once and kept, and pictures for the
 * report. Interfaces only; the platform brings them in.
 */
import type { LongCallOptions, NDArray } from "../core/index.ts";
import type { BadLimit, Dataset, JsonValue, Sample } from "../data/index.ts";
import type { Background, Image, PictureWriter } from "../image/index.ts";
import type { GraphName } from "../models/index.ts";
import type { LoadOptions, TokLIPModel } from "../pipelines/model.ts";
import type { Backend } from "../runtime/index.ts";
import type { EvaluatedData, Evaluation } from "./evaluation.ts";
import type { FeatureRows } from "./feature-rows.ts";

/** How a session is opened. */
export interface SessionOptions extends LongCallOptions {
  /** The model: a path or a hub name. */
  readonly model: string;
  readonly load?: Omit<LoadOptions, keyof LongCallOptions>;
  /** Where features are kept for later runs; where absent, in a temporary folder that goes with the session. */
  readonly features?: string | undefined;
  /** Pictures a run of the model. Default as `defaultBatch`. */
  readonly batch?: number | undefined;
  /** How a picture becomes a square: the shorter edge resized, then the centre; or both edges. Default as the model says. */
  readonly resize?: "shortest" | "squash" | undefined;
  /** What shows through transparency. Default as the model says. */
  readonly background?: Background | undefined;
  /** Turns pictures by their EXIF orientation. Default true; the reference ignores it. */
  readonly exif?: boolean | undefined;
  /** Largest number of pixels a picture may have. */
  readonly maxPixels?: number | undefined;
  /** When pictures that cannot be used end the evaluation. Default more than 10 % of them. */
  readonly badLimit?: BadLimit | undefined;
  /** Is told of what goes wrong without ending the evaluation. */
  readonly warn?: ((message: string) => void) | undefined;
}

/** Which columns of a table, and which files of a folder, say what. */
export interface DataOptions {
  readonly imageColumn?: string | undefined;
  /** Holds the class. Default: `concept` or `label`, as data sets name it. */
  readonly labelColumn?: string | undefined;
  readonly captionColumn?: string | undefined;
  /** What relative paths are relative to. Default: the table's folder. */
  readonly imageRoot?: string | undefined;
  /** Rows of one picture become one sample with all their captions. Default false. */
  readonly groupByImage?: boolean | undefined;
}

/** What a pass makes of pictures instead of the model's image features; it is kept as those are. */
export interface PictureMeasure {
  /** Names it, and the folder where it is kept: `"reconstruction"`. */
  readonly kind: string;
  /** The model's graphs that it runs: with their weights it changes. */
  readonly graphs: readonly GraphName[];
  /** What else changes it, besides how pictures are prepared. */
  readonly identity: JsonValue;
  /** Floats a row. */
  readonly width: number;
  /** Pixels f32 (B, 3, S, S) in [-1, 1] -> rows f32 (B, width). */
  readonly encode: (pixels: NDArray<"f32">) => Promise<NDArray<"f32">>;
}

/** Which samples a feature pass takes, and as what. */
export interface FeatureOptions {
  readonly measure?: PictureMeasure | undefined;
  /** The class of a sample; undefined where it has none. Default: its concept, else its first caption. */
  readonly labelOf?: ((sample: Sample) => string | undefined) | undefined;
  /** The classes in the order of the labels; samples of others are passed over. Default: all there are, sorted. */
  readonly classes?: readonly string[] | undefined;
}

/** Features of a data set, with what was used and what was not. */
export interface PassedRows extends FeatureRows {
  readonly data: EvaluatedData;
  /** Seconds of the pass, and how many pictures went through the model in them (the others were there already). */
  readonly seconds: number;
  readonly encoded: number;
}

/** An evaluation's workplace. */
export interface EvaluationSession {
  readonly model: TokLIPModel;
  /** The model's text side: features are kept as those of pictures are, so that a text is encoded once. */
  readonly texts: Pick<TokLIPModel, "encodeText">;
  /** What else is computed runs here: inner products, fits, networks of others. */
  readonly backend: Backend;
  /** Its name, and what it is. */
  readonly description: Evaluation["model"];
  readonly pictures: PictureWriter;
  /** How pictures are prepared and the model is run: what every figure depends on. */
  readonly settings: Evaluation["settings"];
  /**
   * Opens a data set by its path: a folder of folders (their names are the classes), .csv, .tsv, .jsonl, .parquet, or
   * WebDataset shards `{00..07}.tar`.
   * @throws FILE_NOT_FOUND, FILE_READ_FAILED, DATA_INVALID, DATA_EMPTY, ABORTED
   */
  openData(path: string, options?: DataOptions): Promise<Dataset>;
  /**
   * Image features of a data set in its order; those that an earlier pass kept are not made again.
   * @throws DATA_EMPTY, DATA_TOO_BAD, RUNTIME_FAILED, FILE_WRITE_FAILED, ABORTED
   */
  features(dataset: Dataset, options?: FeatureOptions): Promise<PassedRows>;
  /**
   * The model's view of some samples, by key: RGB squares of the model's size. Keys that are not found, or cannot be
   * decoded, are left out.
   */
  views(dataset: Dataset, keys: ReadonlySet<string>): Promise<ReadonlyMap<string, Image>>;
  /** Frees the model and removes what is temporary. */
  close(): Promise<void>;
}
