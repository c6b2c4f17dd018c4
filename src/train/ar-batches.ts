/**
 * Batches of packed sequences. They are a function of the data, the seed and the position: a batch takes sequences in the
 * order of the walk until one fits in none of its rows, and that one begins the next batch. So the position of a batch, that
 * of its last sequence, says all there is to know for the batches after it.
 *
 * With several processes each packs the whole batch alike, and takes its own rows. All of them know how many targets the
 * whole batch has.
 *
 * Dim letters: B rows of this process, L positions of a row, N ids of a picture.
 */
import { type LongCallOptions, ToklipError } from "../core/index.ts";
import { type BadLimit, BadSampleLog, badSampleOf } from "../data/bad-samples.ts";
import type { BadSample, DataItem, DataPosition, Dataset, IdsSample } from "../data/dataset.ts";
import { type PackedRows, type PlacedSequence, packedRows, RowPacker } from "../data/packing.ts";
import { walkSamples } from "../data/sample-walk.ts";
import {
  AR_LOSSES,
  type ArLoss,
  type ArSequence,
  type ArSequenceOptions,
  drawnSequence,
  heldOutSequences,
} from "./ar-sequences.ts";

/** Rows of packed sequences. */
export interface ArBatch {
  /** Each i32 (B, L). */
  readonly rows: PackedRows;
  /** What is in these rows; `row` counts from the first of this process. */
  readonly placed: readonly PlacedSequence<ArSequence>[];
  /** The targets of each loss in the rows of all processes. */
  readonly targets: Readonly<Record<ArLoss, number>>;
  /** The sequences in the rows of all processes: so many pictures. */
  readonly images: number;
  /** Where reading goes on. A getter: a position can take time to write down. */
  readonly position: DataPosition;
}

/** What batches are made of. */
export interface ArBatchOptions extends ArSequenceOptions, LongCallOptions {
  /** Rows of a batch of this process. */
  readonly batchSize: number;
  readonly from?: DataPosition | undefined;
  /** When bad samples end the reading. */
  readonly badLimit?: BadLimit | undefined;
  /** Is told of each bad sample, by the first process. */
  readonly onBad?: ((bad: BadSample) => void) | undefined;
  /** Which of `size` processes this is, from 0. Default 0 of 1. */
  readonly rank?: number | undefined;
  readonly size?: number | undefined;
}

/**
 * Training batches without end. Samples that cannot be used are counted and passed over.
 * @throws DATA_TOO_BAD over the limit of bad samples, DATA_EMPTY, ABORTED; what the data set throws
 */
export function arBatches(dataset: Dataset<IdsSample>, options: ArBatchOptions): AsyncGenerator<ArBatch, void> {
  const sequences = (sample: IdsSample, epoch: number) => {
    const made = drawnSequence(sample, epoch, options);
    return "reason" in made ? made : [made];
  };
  return readBatches(dataset, { ...options, sequences, shuffle: true, epochs: undefined });
}

/**
 * The batches of held-out data, read once in the stored order, each sample in every direction that is trained; a sample's
 * sequences may lie in two batches.
 * @throws as `arBatches`
 */
export function arHeldOutBatches(
  dataset: Dataset<IdsSample>,
  options: Omit<ArBatchOptions, "from" | "rank" | "size">,
): AsyncGenerator<ArBatch, void> {
  const sequences = (sample: IdsSample) => heldOutSequences(sample, options);
  return readBatches(dataset, { ...options, sequences, shuffle: false, epochs: 1 });
}

interface Reading extends ArBatchOptions {
  readonly sequences: (sample: IdsSample, epoch: number) => readonly ArSequence[] | BadSample;
  readonly shuffle: boolean;
  readonly epochs: number | undefined;
}

async function* readBatches(dataset: Dataset<IdsSample>, options: Reading): AsyncGenerator<ArBatch, void> {
  const { model, batchSize, size = 1 } = options;
  const newPacker = () => new RowPacker<ArSequence>({ rows: batchSize * size, length: model.contextLength });
  let packer = newPacker();
  let last: DataItem<IdsSample> | undefined;
  for await (const { sequence, item } of walkSequences(dataset, options)) {
    if (!packer.add(sequence)) {
      yield batchOf(packer, last!, options);
      packer = newPacker();
      packer.add(sequence);
    }
    last = item;
  }
  if (last === undefined) throw new ToklipError("DATA_EMPTY", `${dataset.name}: no sample can be used`);
  yield batchOf(packer, last, options);
}

/** The sequences of all samples that can be used, in order. */
async function* walkSequences(dataset: Dataset<IdsSample>, options: Reading) {
  const { seed, from, shuffle, epochs, signal, onProgress, onBad, rank = 0 } = options;
  const log = new BadSampleLog(options.badLimit);
  const walk = { seed, from, shuffle, epochs, signal, onProgress, needCaptions: true, groupSize: 1 };
  for await (const walked of walkSamples(dataset, walk)) {
    const made =
      "bad" in walked
        ? walked.bad
        : sequencesOrBad(walked.sample, () => options.sequences(walked.sample, walked.epoch));
    if ("reason" in made) {
      if (rank === 0) onBad?.(made);
      log.addBad(made);
      continue;
    }
    log.addGood();
    for (const sequence of made) yield { sequence, item: walked.item };
  }
}

function sequencesOrBad({ key }: IdsSample, make: () => readonly ArSequence[] | BadSample) {
  try {
    return make();
  } catch (thrown) {
    return badSampleOf(key, thrown);
  }
}

function batchOf({ placed }: RowPacker<ArSequence>, last: DataItem<IdsSample>, options: ArBatchOptions): ArBatch {
  const { batchSize, rank = 0, model } = options;
  const first = rank * batchSize;
  const targets = Object.fromEntries(AR_LOSSES.map((loss) => [loss, 0])) as Record<ArLoss, number>;
  for (const { sequence } of placed) {
    for (const kind of sequence.kinds) if (kind >= 0) targets[AR_LOSSES[kind]!]++;
  }
  const own = placed.filter(({ row }) => row >= first && row < first + batchSize);
  return {
    rows: packedRows(placed, { first, rows: batchSize, length: model.contextLength }),
    placed: own.map((each) => ({ ...each, row: each.row - first })),
    targets,
    images: placed.length,
    get position() {
      return last.position;
    },
  };
}
