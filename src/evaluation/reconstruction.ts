/**
 * Reconstruction: pictures to ids and back to pixels. How near the pixels come, how the codebook is used, and, with a network
 * that the user names, how far the two sets of pictures are apart as that network sees them.
 *
 * PSNR is given twice, since both are in use: the mean over the pictures, and that of the mean squared error of all, which
 * weighs bad pictures more and is the lower. A picture that comes back without any difference has no PSNR: such pictures
 * are counted apart and are not in the mean.
 */
import { type LongCallOptions, throwIfAborted } from "../core/index.ts";
import type { Dataset } from "../data/index.ts";
import { psnrOf, ssimScales } from "../image/index.ts";
import { gridOf } from "../models/index.ts";
import { requireVq } from "../pipelines/input-checks.ts";
import { CodebookUse } from "./codebook-use.ts";
import type { Evaluation, EvaluationTable, Metric } from "./evaluation.ts";
import { compileFeatureNetwork, type FeatureNetwork, type FeatureNetworkOptions } from "./feature-network.ts";
import { frechetDistance, GaussianSums } from "./frechet.ts";
import { rateOf } from "./pass-rate.ts";
import { psnrTable } from "./psnr-histogram.ts";
import { reconstructionGalleries } from "./reconstruction-galleries.ts";
import { type MeasuredPicture, type ReconstructionMeasure, reconstructionMeasure } from "./reconstruction-measure.ts";
import { RunningMean } from "./running-mean.ts";
import type { EvaluationSession, PassedRows } from "./session.ts";

/** What is measured. */
export interface ReconstructionOptions extends LongCallOptions {
  /** Makes the features that a Fréchet distance is taken of; none is given where it is absent. */
  readonly network?: FeatureNetworkOptions | undefined;
}

/**
 * Measures how a model reconstructs the pictures of a data set. They are compared at the model's size, after resizing,
 * cropping and laying transparent ones over the background.
 * @throws ARGUMENT_INVALID for a model without a VQ; DATA_EMPTY, DATA_TOO_BAD, ABORTED; as `compileFeatureNetwork`
 */
export async function evaluateReconstruction(
  session: EvaluationSession,
  dataset: Dataset,
  { network: wanted, signal, onProgress }: ReconstructionOptions = {},
): Promise<Evaluation> {
  const started = Date.now();
  const { codebookSize } = requireVq(session.model.config, "eval reconstruction");
  const network = wanted && (await compileFeatureNetwork(session.backend, wanted, { signal }));
  const measure = reconstructionMeasure(session.model, { network, signal });
  const pictures = await session.features(dataset, { measure, labelOf: () => undefined });
  const sums = new ReconstructionSums(codebookSize, network);
  await eachPicture(pictures, measure, { signal, onProgress }, (picture) => sums.add(picture));
  const distance = sums.distance();
  return {
    task: "reconstruction",
    model: session.description,
    data: [pictures.data],
    settings: settingsOf(session, network),
    metrics: [...sums.metrics(), ...distance],
    tables: sums.tables(),
    galleries: await reconstructionGalleries(session, dataset, { pictures, measure, psnrs: sums.psnrs }),
    seconds: (Date.now() - started) / 1000,
    picturesPerSecond: rateOf([pictures]),
  };
}

async function eachPicture(
  pictures: PassedRows,
  { read, width }: ReconstructionMeasure,
  { signal, onProgress }: LongCallOptions,
  work: (picture: MeasuredPicture) => void,
): Promise<void> {
  let done = 0;
  for await (const { features, keys } of pictures.blocks({ signal })) {
    for (let i = 0; i < keys.length; i++) {
      if (i % 64 === 0) throwIfAborted(signal, "reconstruction");
      work(read(features.subarray(i * width, (i + 1) * width)));
    }
    done += keys.length;
    onProgress?.({ stage: "compare", done, total: pictures.size, unit: "images" });
  }
}

function settingsOf({ model: { config } }: EvaluationSession, network: FeatureNetwork | undefined) {
  const { imageSize } = config.trunk;
  return {
    ids_per_picture: gridOf(config.trunk).tokens,
    codebook_size: config.vq!.codebookSize,
    ssim: "Gaussian window of 11 x 11, sigma 1.5, whole windows, each of R, G, B",
    ms_ssim_scales: ssimScales({ width: imageSize, height: imageSize }),
    ...(network && { feature_network: network.settings }),
  };
}

/** Rows of features that are added to a covariance together: they stay in the processor's cache. */
const ROWS_TOGETHER = 64;

/** Features of one side, gathered until there are some to add. */
class FeatureSums {
  private readonly sums: GaussianSums;
  private waiting: Float32Array[] = [];

  constructor(width: number) {
    this.sums = new GaussianSums(width);
  }

  add(features: Float32Array): void {
    this.waiting.push(features);
    if (this.waiting.length === ROWS_TOGETHER) this.flush();
  }

  finish() {
    this.flush();
    return this.sums.finish();
  }

  private flush(): void {
    this.sums.add(this.waiting);
    this.waiting = [];
  }
}

/** Everything that the figures are made of, a picture at a time. */
class ReconstructionSums {
  /** PSNR of each picture, in the order of the data; infinite for one without any difference. */
  readonly psnrs: number[] = [];
  private readonly psnr = new RunningMean();
  private readonly squared = new RunningMean();
  private readonly absolute = new RunningMean();
  private readonly ssim = new RunningMean();
  private readonly multiScaleSsim = new RunningMean();
  private readonly codes: CodebookUse;
  private readonly codebookSize: number;
  private readonly network: FeatureNetwork | undefined;
  private readonly originals: FeatureSums;
  private readonly rebuilt: FeatureSums;

  constructor(codebookSize: number, network: FeatureNetwork | undefined) {
    this.codebookSize = codebookSize;
    this.codes = new CodebookUse(codebookSize);
    this.network = network;
    this.originals = new FeatureSums(network?.width ?? 0);
    this.rebuilt = new FeatureSums(network?.width ?? 0);
  }

  add({ squared, absolute, ssim, multiScaleSsim, ids, original, rebuilt }: MeasuredPicture): void {
    const psnr = psnrOf(squared);
    this.psnrs.push(psnr);
    if (Number.isFinite(psnr)) this.psnr.add(psnr);
    this.squared.add(squared);
    this.absolute.add(absolute / 255);
    this.ssim.add(ssim);
    this.multiScaleSsim.add(multiScaleSsim);
    this.codes.add(ids);
    if (this.network === undefined) return;
    this.originals.add(original);
    this.rebuilt.add(rebuilt);
  }

  metrics(): Metric[] {
    const { value, count } = this.squared;
    const equal = count - this.psnr.count;
    const pooled = value === null || value === 0 ? null : psnrOf(value);
    return [
      this.psnr.metric("psnr", "dB", "mean over the pictures of their PSNR"),
      {
        name: "psnr_of_mean_error",
        value: pooled,
        unit: "dB",
        count,
        meaning: "PSNR of the mean squared error of all",
      },
      ...(equal > 0
        ? [
            {
              name: "equal",
              value: equal,
              unit: "count",
              count,
              meaning: "came back without any difference, not in psnr",
            } as const,
          ]
        : []),
      this.ssim.metric("ssim", "plain", "structural similarity, 1 for equal pictures"),
      this.multiScaleSsim.metric("ms_ssim", "plain", "structural similarity at several scales"),
      this.absolute.metric("l1", "plain", "mean absolute difference of values in [0, 1]"),
      ...this.codeMetrics(),
    ];
  }

  private codeMetrics(): Metric[] {
    const { entropy, total: count, used } = this.codes;
    const size = this.codebookSize;
    const most = Number(Math.log2(size).toFixed(2));
    return [
      {
        name: "codes_used",
        value: count > 0 ? used / size : null,
        unit: "share",
        count,
        meaning: `of ${size} codes, drawn at least once`,
      },
      { name: "code_entropy", value: entropy, unit: "bits", count, meaning: `of an id, at most ${most}` },
      {
        name: "code_perplexity",
        value: entropy === null ? null : 2 ** entropy,
        unit: "plain",
        count,
        meaning: "as many codes, were all used alike",
      },
    ];
  }

  /** The figure that needs a network; none without. */
  distance(): Metric[] {
    if (this.network === undefined) return [];
    const { network, output, width } = this.network.settings;
    const [a, b] = [this.originals.finish(), this.rebuilt.finish()];
    const count = this.squared.count;
    const few =
      count <= width ? `; of no more pictures than its ${width} floats: too large, compare with no other` : "";
    return [
      {
        name: "frechet_distance",
        value: a && b ? frechetDistance(a, b) : null,
        unit: "plain",
        count,
        meaning: `of ${output} of ${network}${few}`,
      },
    ];
  }

  tables(): EvaluationTable[] {
    const { total } = this.codes;
    const rows = this.codes.top(20).map(({ code, count }) => [code, count, (100 * count) / total]);
    return [psnrTable(this.psnrs), { title: "Codes drawn most", columns: ["code", "times", "share %"], rows }];
  }
}
