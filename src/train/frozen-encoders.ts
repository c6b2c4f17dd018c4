/**
 * The parts of a TokLIP that training leaves as they are: the VQ encoder makes the ids, the text tower the features of
 * the texts, the pixel teacher what the student is drawn to. They run as inference does, in graphs of their own.
 */
import { concatRows, type NDArray, rows, ToklipError } from "../core/index.ts";
import { fromPixels, resizeImage, toPixels } from "../image/index.ts";
import { type GraphName, NAMES, type ToklipConfig, traceGraph } from "../models/index.ts";
import type { Backend, Feeds, Fetches, Session, Weight } from "../runtime/index.ts";
import type { ImageTextBatch } from "./image-text-batch.ts";
import type { FrozenEncoders, PictureFeatures, WantedFeatures } from "./toklip-objective.ts";

/** More are hardly quicker. */
const MOST_AT_ONCE = 8;

/** Gives the weights of a model by name. */
export type WeightSource = (name: string) => Promise<Weight>;

/** A pixel model that a student is drawn to. */
interface Teacher {
  readonly config: ToklipConfig;
  readonly weights: WeightSource;
}

/** Where the frozen weights come from. */
export interface FrozenEncoderOptions {
  readonly backend: Backend;
  /** The student's configuration. */
  readonly config: ToklipConfig;
  /** Its VQ and its text tower. */
  readonly weights: WeightSource;
  /** The pixel teacher, where there is one. Pictures are resized to what it reads. */
  readonly teacher?: Teacher;
  /** Samples of every run; see `evenPartSize`. Default 8. */
  readonly partSize?: number;
}

/**
 * Checks that a teacher's features can be compared with a student's.
 * @throws CHECKPOINT_MISMATCH when it is no pixel model, or its width differs.
 */
export function checkTeacher(student: ToklipConfig, teacher: ToklipConfig): void {
  const fail = (what: string): never => {
    throw new ToklipError("CHECKPOINT_MISMATCH", `teacher ${teacher.name}: ${what}`);
  };
  if (teacher.vq !== undefined) fail("it reads image ids; a pixel model is needed");
  if (teacher.embedDim !== student.embedDim) {
    fail(`its features have width ${teacher.embedDim}, the student's ${student.embedDim}`);
  }
}

/** Pixels f32 (B, 3, H, W) -> (B, 3, size, size), by way of bytes and Pillow's bicubic filter where the size is another. */
function pixelsOfSize(pixels: NDArray<"f32">, size: number): NDArray<"f32"> {
  if (pixels.shape[2] === size) return pixels;
  const pictures = Array.from({ length: pixels.shape[0]! }, (_, row) => fromPixels(pixels, row));
  return toPixels(pictures.map((picture) => resizeImage(picture, { width: size, height: size })));
}

/** Prepares the frozen encoders; each is compiled when it is first wanted. @throws CHECKPOINT_MISMATCH */
export function createFrozenEncoders(options: FrozenEncoderOptions): FrozenEncoders {
  const { backend, config, weights, teacher, partSize = MOST_AT_ONCE } = options;
  if (teacher) checkTeacher(config, teacher.config);
  const sessions = new Map<GraphName, Promise<Session>>();
  const sessionOf = (name: GraphName, model: ToklipConfig, weight: WeightSource): Promise<Session> => {
    let session = sessions.get(name);
    if (session === undefined) {
      session = backend.compile({ name, graph: traceGraph(name, model), weight });
      sessions.set(name, session);
    }
    return session;
  };
  const run = async (name: GraphName, feeds: Feeds, model = config, weight = weights): Promise<Fetches> =>
    runInParts(await sessionOf(name, model, weight), feeds, partSize);
  const taughtBy = ({ config: model, weights: own }: Teacher, pixels: NDArray<"f32">): Promise<Fetches> =>
    run("pixel_encoder", { [NAMES.pixels]: pixelsOfSize(pixels, model.trunk.imageSize) }, model, own);
  const pictures = async ({ pixels }: ImageTextBatch, wanted: WantedFeatures): Promise<PictureFeatures> => {
    const feeds = { [NAMES.pixels]: pixels };
    const { ids } = await run("vq_encoder", feeds);
    const taught = wanted.teacher || wanted.teacherTokens ? await taughtBy(required(teacher), pixels) : undefined;
    return {
      ids: ids as NDArray<"i32">,
      ...(wanted.teacher && { teacherFeatures: taught![NAMES.imageFeatures] as NDArray<"f32"> }),
      ...(wanted.teacherTokens && { teacherTokens: taught![NAMES.tokenFeatures] as NDArray<"f32"> }),
    };
  };
  const texts = async (textIds: NDArray<"i32">): Promise<NDArray<"f32">> => {
    const fetched = await run("text_encoder", { [NAMES.textIds]: textIds });
    return fetched[NAMES.textFeatures] as NDArray<"f32">;
  };
  const dispose = async () => {
    for (const session of sessions.values()) await (await session).dispose();
  };
  return { pictures, texts, dispose };
}

function required(teacher: Teacher | undefined): Teacher {
  if (teacher !== undefined) return teacher;
  throw new ToklipError("CONFIG_INVALID", "distillation needs a teacher (teacher.checkpoint)");
}

/**
 * Runs parts of one size, the last filled up with copies of its last row: kernels may round otherwise for another number
 * of rows, and a sample's features must not depend on which samples come with it.
 */
export async function runInParts(session: Session, feeds: Feeds, partSize: number): Promise<Fetches> {
  const [name, array] = Object.entries(feeds)[0]!;
  const count = array.shape[0]!;
  const parts: Fetches[] = [];
  for (let start = 0; start < count; start += partSize) {
    const part = rows(array, start, Math.min(start + partSize, count));
    parts.push(await session.run({ [name]: filledUp(part, partSize) }));
  }
  return Object.fromEntries(
    Object.keys(parts[0]!).map((output) => [output, rows(concatRows(parts.map((part) => part[output]!)), 0, count)]),
  );
}

function filledUp(part: NDArray, size: number): NDArray {
  const count = part.shape[0]!;
  if (count === size) return part;
  const last = rows(part, count - 1, count);
  return concatRows([part, ...new Array<NDArray>(size - count).fill(last)]);
}

/** How many samples the frozen parts take at once for batches of a size: at most 8, so that parts fit the batch well. */
export function evenPartSize(batchSize: number): number {
  return Math.ceil(batchSize / Math.ceil(batchSize / MOST_AT_ONCE));
}
