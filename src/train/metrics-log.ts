/** Where a run's numbers and pictures go: `metrics.jsonl`, a TensorBoard event file a session, the drawn curves. */
import { type EventTime, eventFileHeader, picturesRecord, restartRecord, scalarsRecord } from "../files/tfevents.ts";
import { fromPixels } from "../image/index.ts";
import { drawLossCurve } from "./loss-curve.ts";
import { type EvaluationRecord, formatRecord, type MetricsSoFar, parseMetrics, type StepRecord } from "./metrics.ts";
import { type GrowingFile, type PictureWriter, type RunStorage, readText, writeWhole } from "./run-storage.ts";
import type { SamplePicture } from "./trainer.ts";

const METRICS = "metrics.jsonl";
const EVENT_FILE = /^events\.out\.tfevents\.(\d+)\.(\d+)$/;

/** What the log needs. */
export interface MetricsLogOptions {
  readonly storage: RunStorage;
  readonly pictures: PictureWriter;
  /** The step that the run goes on from: what was logged after it will come again and is taken out. */
  readonly step: number;
  /** Seconds since 1970. */
  readonly now: () => number;
}

/** The log of one session of a run. */
export class MetricsLog {
  private readonly storage: RunStorage;
  private readonly pictures: PictureWriter;
  private readonly now: () => number;
  private readonly lines: GrowingFile;
  private readonly events: GrowingFile;

  private constructor({ storage, pictures, now }: MetricsLogOptions, lines: GrowingFile, events: GrowingFile) {
    this.storage = storage;
    this.pictures = pictures;
    this.now = now;
    this.lines = lines;
    this.events = events;
  }

  /** Opens the files. @throws FILE_WRITE_FAILED, FILE_READ_FAILED */
  static async open(options: MetricsLogOptions): Promise<MetricsLog> {
    const { storage, step } = options;
    const wallTime = options.now();
    const lines = await storage.append(METRICS, (await readMetrics(storage, step)).bytes);
    try {
      const events = await storage.append(await nextEventFile(storage, wallTime), 0);
      const log = new MetricsLog(options, lines, events);
      await events.write(eventFileHeader(wallTime));
      // What was written of step `step` itself was written before its checkpoint, and stays.
      await events.write(restartRecord({ wallTime, step: step + 1 }));
      return log;
    } catch (thrown) {
      await lines.close();
      throw thrown;
    }
  }

  /** Writes a logged step. @throws FILE_WRITE_FAILED */
  async step(record: StepRecord): Promise<void> {
    await this.line(formatRecord(record));
    const scalars: Record<string, number> = {
      "train/loss": record.loss,
      "train/learning_rate": record.learningRate,
      "train/gradient_norm": record.gradientNorm,
      "speed/images_per_second": record.imagesPerSecond,
      "speed/data_seconds": record.dataSeconds,
    };
    for (const [name, value] of Object.entries(record.parts)) scalars[`parts/${name}`] = value;
    await this.events.write(scalarsRecord(this.at(record.step), scalars));
  }

  /** Writes an evaluation. @throws FILE_WRITE_FAILED */
  async evaluation(record: EvaluationRecord): Promise<void> {
    await this.line(formatRecord(record));
    const tagged = Object.entries(record.evaluation).map(([name, value]) => [`evaluation/${name}`, value] as const);
    await this.events.write(scalarsRecord(this.at(record.step), Object.fromEntries(tagged)));
  }

  /** Writes `samples/step-00000100/<name>.png`, and the same pictures for TensorBoard. @throws FILE_WRITE_FAILED */
  async samples(step: number, pictures: readonly SamplePicture[]): Promise<void> {
    for (const { name, pixels } of pictures) {
      const image = fromPixels(pixels);
      const png = await this.pictures.encodePng(image);
      await writeWhole(this.storage, `samples/step-${String(step).padStart(8, "0")}/${fileNameOf(name)}.png`, png);
      const { width, height } = image;
      await this.events.write(picturesRecord(this.at(step), { [`samples/${name}`]: { width, height, png } }));
    }
  }

  /**
   * Draws `loss-curve.svg` and `.png` from all that was logged. The picture is a copy of the drawing: where the platform
   * cannot make it, training does not stop for it.
   * @throws FILE_WRITE_FAILED
   */
  async curve(onProblem: (problem: unknown) => void): Promise<void> {
    const { records } = await readMetrics(this.storage);
    const svg = drawLossCurve(records, { title: this.storage.name });
    await writeWhole(this.storage, "loss-curve.svg", svg);
    const png = await this.pictures.renderSvg(svg).catch(onProblem);
    if (png !== undefined) await writeWhole(this.storage, "loss-curve.png", png);
  }

  /** Forces everything to disk. @throws FILE_WRITE_FAILED */
  async sync(): Promise<void> {
    await this.lines.sync();
    await this.events.sync();
  }

  /** Closes the files. */
  async close(): Promise<void> {
    await this.lines.close();
    await this.events.close();
  }

  private line(text: string): Promise<void> {
    return this.lines.write(new TextEncoder().encode(`${text}\n`));
  }

  private at(step: number): EventTime {
    return { wallTime: this.now(), step };
  }
}

async function readMetrics(storage: RunStorage, lastStep?: number): Promise<MetricsSoFar> {
  const exists = (await storage.list("")).includes(METRICS);
  return parseMetrics(exists ? await readText(storage, METRICS) : "", lastStep);
}

/** TensorBoard reads the files of a folder in the order of their names, so a later session's must come later. */
async function nextEventFile(storage: RunStorage, wallTime: number): Promise<string> {
  const before = (await storage.list("")).map((name) => EVENT_FILE.exec(name)).filter((match) => match !== null);
  const latest = before.map(([, time]) => Number(time)).reduce((a, b) => Math.max(a, b), 0);
  const count = before.map(([, , n]) => Number(n) + 1).reduce((a, b) => Math.max(a, b), 0);
  const time = Math.max(Math.floor(wallTime), latest);
  return `events.out.tfevents.${String(time).padStart(10, "0")}.${String(count).padStart(5, "0")}`;
}

/** A picture's name as a file's: letters, digits, `.`, `_` and `-`, and no dot at its beginning. */
function fileNameOf(name: string): string {
  return name
    .replace(/[^A-Za-z0-9._-]/g, "-")
    .replace(/^\./, "-")
    .slice(0, 200);
}
