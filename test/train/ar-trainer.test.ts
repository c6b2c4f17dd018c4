// The training of the unified transformer: packing changes no loss, parts and processes no gradient, and it learns.
import { afterAll, describe, expect, test } from "vitest";
import { packedRows, RowPacker } from "../../src/data/packing.ts";
import { createOrtBackend } from "../../src/node/ort-backend.ts";
import type { TokenEncoderTraining } from "../../src/train/ar-assembly.ts";
import { type ArBatch, arHeldOutBatches } from "../../src/train/ar-batches.ts";
import { type Communicator, singleProcess } from "../../src/train/communicator.ts";
import { codeOf } from "../files/value-or-error.ts";
import { datasetOf } from "./ar-samples.ts";
import { arOver, arTrainer, batchesOf, batchOptions, FOUR, tinyToklip } from "./ar-training.ts";
import { relativeError } from "./tiny-training.ts";

const backend = createOrtBackend({ threads: 1 });
afterAll(() => backend.dispose());

const WAYS: readonly (readonly [string, ReturnType<typeof arOver>, TokenEncoderTraining])[] = [
  ["vq", arOver("vq"), "frozen"],
  ["toklip", arOver("toklip"), "frozen"],
  ["toklip trained through", arOver("toklip"), "trained"],
  ["toklip+vq trained through", arOver("toklip+vq"), "trained"],
];

const AT = { step: 0, total: 1 };

describe("four samples are learnt by heart in both directions", () => {
  test.each(WAYS)("with the entry %s", async (_, model, tokenEncoder) => {
    const trainer = await arTrainer(backend, model, { tokenEncoder });
    const batches = await batchesOf(model, 80);
    const held = () => arHeldOutBatches(datasetOf(FOUR(model)), batchOptions(model));
    const before = await trainer.evaluate(held());
    expect(before.loss).toBeCloseTo(Math.log(30), 4); // the output layer begins at zero
    const reports = [];
    for (const batch of batches) reports.push(await trainer.step(batch, AT));
    const after = await trainer.evaluate(held());
    expect(after.text_to_image).toBeLessThan(0.03);
    expect(after.image_to_text).toBeLessThan(0.03);
    expect(reports[0]!.parts.text_to_image).toBeCloseTo(Math.log(30), 4);
    expect(reports.at(-1)!.loss).toBeLessThan(0.05);
    await trainer.dispose();
  });
});

describe("the gradients of a batch are the same in parts, and with blocks computed again", () => {
  test.each([WAYS[0]!, WAYS[3]!])("with the entry %s", async (_, model, tokenEncoder) => {
    const [, batch] = await batchesOf(model, 2);
    const gradients = async (change: object, of = batch!) => {
      const trainer = await arTrainer(backend, model, { tokenEncoder, ...change });
      await trainer.step(batch!, AT); // away from the output layer's zeros
      const got = await trainer.lossAndGradients(of);
      await trainer.dispose();
      return got;
    };
    const whole = await gradients({});
    for (const change of [{ partSize: 2 }, { partSize: 1, recompute: true }]) {
      const got = await gradients(change);
      expect(got.parts.text_to_image).toBeCloseTo(whole.parts.text_to_image!, 5);
      for (const [name, gradient] of whole.gradients) {
        expect(relativeError(got.gradients.get(name)!, gradient), name).toBeLessThan(1e-4);
      }
    }
  });
});

test("two processes sum to the gradients of one", async () => {
  const model = arOver("toklip+vq");
  const whole = (await batchesOf(model, 1))[0]!;
  const halves = await Promise.all(
    [0, 1].map(async (rank) => (await batchesOf(model, 1, { batchSize: 2, rank, size: 2 }))[0]!),
  );
  const of = async (batch: ArBatch, batchSize: number) => {
    const trainer = await arTrainer(backend, model, { tokenEncoder: "trained", batchSize });
    const got = await trainer.lossAndGradients(batch);
    await trainer.dispose();
    return got;
  };
  const [one, a, b] = [await of(whole, 4), await of(halves[0]!, 2), await of(halves[1]!, 2)];
  for (const [name, gradient] of one.gradients) {
    const sum = a.gradients.get(name)!.map((value, i) => value + b.gradients.get(name)![i]!);
    expect(relativeError(sum, gradient), name).toBeLessThan(1e-4);
  }
});

test("a process sums what the others have", async () => {
  const model = arOver("vq");
  const [batch] = await batchesOf(model, 1);
  const twice: Communicator = {
    ...singleProcess,
    size: 2,
    allReduceSum: async (data) => data.set(data.map((value) => 2 * value)),
  };
  const plain = await arTrainer(backend, model);
  const doubled = await arTrainer(backend, model, { communicator: twice });
  const [one, two] = [await plain.lossAndGradients(batch!), await doubled.lossAndGradients(batch!)];
  expect(two.parts.image_to_text! / one.parts.image_to_text!).toBeCloseTo(2, 6);
  expect(two.gradients.get("output.weight")!.map((value) => value / 2)).toEqual(one.gradients.get("output.weight"));
  await Promise.all([plain.dispose(), doubled.dispose()]);
});

test("packed sequences have the losses that each has in a row of its own", async () => {
  for (const [, model, tokenEncoder] of WAYS) {
    const [first, packed] = await batchesOf(model, 2);
    const trainer = await arTrainer(backend, model, { tokenEncoder });
    await trainer.step(first!, AT);
    const together = await trainer.evaluate(once(packed!));
    expect(packed!.placed.length).toBeGreaterThan(8);
    const apart = await trainer.evaluate(alone(packed!, 40));
    expect(together.text_to_image).toBeCloseTo(apart.text_to_image!, 5);
    expect(together.image_to_text).toBeCloseTo(apart.image_to_text!, 5);
    await trainer.dispose();
  }
});

async function* once<T>(item: T): AsyncGenerator<T> {
  yield item;
}

/** The sequences of a batch, one a row. */
async function* alone(batch: ArBatch, length: number): AsyncGenerator<ArBatch> {
  for (const { sequence } of batch.placed) {
    const packer = new RowPacker<typeof sequence>({ rows: 4, length });
    packer.add(sequence);
    const targets = { text_to_image: 0, image_to_text: 0, image_prior: 0 };
    targets[sequence.direction] = sequence.kinds.filter((kind) => kind >= 0).length;
    yield { ...batch, placed: packer.placed, rows: packedRows(packer.placed, { rows: 4, length }), targets };
  }
}

test("a trained encoder begins where the frozen one is, and gets the gradient of the loss", async () => {
  const model = arOver("toklip");
  const [first, batch] = await batchesOf(model, 2);
  const lossOf = (parts: Readonly<Record<string, number>>) => parts.text_to_image! + parts.image_to_text!;
  const [frozen, trained] = [
    await arTrainer(backend, model),
    await arTrainer(backend, model, {
      tokenEncoder: "trained",
      optimizer: { betas: [0.9, 0.95], eps: 1e-8, weightDecay: 0 },
    }),
  ];
  expect((await trained.step(first!, AT)).loss).toBeCloseTo((await frozen.step(first!, AT)).loss, 5);
  const { parts, gradients } = await trained.lossAndGradients(batch!);
  const name = "visual.trunk.blocks.0.mlp.fc1.weight";
  const gradient = gradients.get(name)!;
  const size = Math.sqrt(gradient.reduce((sum, value) => sum + value ** 2, 0));
  expect(size).toBeGreaterThan(1e-4);
  // Along the gradient, by h on either side.
  const parameter = (await trained.trained()).get(name)!.data as Float32Array;
  const at = async (h: number) => {
    const moved = (await trained.trained()).get(name)!.data as Float32Array;
    const before = moved.slice();
    for (let i = 0; i < moved.length; i++) moved[i]! += (h * gradient[i]!) / size;
    const loss = lossOf((await trained.lossAndGradients(batch!)).parts);
    ((await trained.trained()).get(name)!.data as Float32Array).set(before);
    return loss;
  };
  expect(parameter.length).toBe(gradient.length);
  const h = 0.05;
  expect(((await at(h)) - (await at(-h))) / (2 * h) / size).toBeCloseTo(1, 1);
  expect(lossOf(parts)).toBeCloseTo(await at(0), 6);
  await Promise.all([frozen.dispose(), trained.dispose()]);
});

test("a state goes on as the run that it was taken of, bit for bit", async () => {
  const model = arOver("toklip+vq");
  const ema = { decay: 0.9 };
  const batches = await batchesOf(model, 4);
  const whole = await arTrainer(backend, model, { tokenEncoder: "trained", ema });
  for (const batch of batches.slice(0, 2)) await whole.step(batch, AT);
  const { files, json } = await whole.state();
  const copy = Object.fromEntries(
    Object.entries(files).map(([file, tensors]) => [
      file,
      new Map([...tensors].map(([name, array]) => [name, { ...array, data: array.data.slice() }])),
    ]),
  );
  const reports = [await whole.step(batches[2]!, AT), await whole.step(batches[3]!, AT)];
  const resumed = await arTrainer(backend, model, { tokenEncoder: "trained", ema, seed: 9 });
  await resumed.restore({ files: copy as typeof files, json: JSON.parse(JSON.stringify(json)) });
  expect([await resumed.step(batches[2]!, AT), await resumed.step(batches[3]!, AT)]).toEqual(reports);
  const held = () => arHeldOutBatches(datasetOf(FOUR(model)), batchOptions(model));
  expect(await resumed.evaluate(held())).toEqual(await whole.evaluate(held()));
  await Promise.all([whole.dispose(), resumed.dispose()]);
});

test("losses count as their weights say, and a loss without weight is not computed", async () => {
  const model = arOver("vq");
  const [batch] = await batchesOf(model, 1, { imagePrior: true });
  const weights = { text_to_image: 1, image_to_text: 4, image_prior: 0 };
  const trainer = await arTrainer(backend, model, { weights });
  const { loss, parts } = await trainer.step(batch!, AT);
  expect(parts).not.toHaveProperty("image_prior");
  const { text_to_image: image, image_to_text: text } = batch!.targets;
  const expected = (image * parts.text_to_image! + 4 * text * parts.image_to_text!) / (image + 4 * text);
  expect(loss).toBeCloseTo(expected, 5);
  await trainer.dispose();
});

describe("a token encoder", () => {
  const refused: readonly (readonly [string, string, object, object])[] = [
    ["is needed for its features", "CONFIG_INVALID", arOver("toklip"), { toklip: undefined }],
    ["is not trained by an entry without them", "CONFIG_INVALID", arOver("vq"), { tokenEncoder: "trained" }],
    ["must have their width", "CHECKPOINT_MISMATCH", arOver("toklip", { feature_width: 9 }), {}],
    ["must read as many ids", "CHECKPOINT_MISMATCH", arOver("toklip", { image_tokens: 9 }), {}],
    ["must have the codebook", "CHECKPOINT_MISMATCH", arOver("vq", { codebook_size: 9 }), { toklip: tinyToklip() }],
  ];
  test.each(refused)("%s", async (_, code, model, change) => {
    expect(await codeOf(() => arTrainer(backend, model as ReturnType<typeof arOver>, change))).toBe(code);
  });
});
