/** One process of the tests of MPI. Its first argument is what it does; what it found goes to standard output. */
import process from "node:process";
import { communicatorFromEnvironment, type MpiCommunicator } from "../../src/node/mpi.ts";
import type { Communicator } from "../../src/train/communicator.ts";

const [, , task = "", argument = ""] = process.argv;

const TEXT = "Schritt 1: Äpfel, 林檎, 🍎\n";
/** More than goes into one call. */
const LARGE = 2 ** 24 + 5;
/** A WebAssembly function that reads outside of its memory. */
const OUT_OF_BOUNDS = Uint8Array.from([
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127], // header; type: () -> i32
  ...[3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 5, 1, 1, 102, 0, 0], // a function; a page of memory; exported as "f"
  ...[10, 13, 1, 11, 0, 65, 255, 255, 255, 255, 7, 40, 2, 0, 11], // loads from address 2^31 - 1
]);

/** A few bits of an array that differ when any of its values does. */
function digest(data: Float32Array): number {
  let hash = 0;
  for (const word of new Uint32Array(data.buffer, data.byteOffset, data.length))
    hash = (Math.imul(hash, 31) + word) | 0;
  return hash;
}

/** Values of many magnitudes, so that their sum depends on the order of additions. */
function values(length: number, rank: number): Float32Array {
  const result = new Float32Array(length);
  for (let i = 0, x = rank + 1; i < length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    result[i] = x * SCALES[i % SCALES.length]!;
  }
  return result;
}
const SCALES = Array.from({ length: 37 }, (_, i) => 2 ** -i);

/** The largest difference to the sum in float64, relative to the sum of magnitudes. */
function sumError(sum: Float32Array, size: number): number {
  const all = Array.from({ length: size }, (_, rank) => values(sum.length, rank));
  let worst = 0;
  for (let i = 0; i < sum.length; i++) {
    let [exact, magnitude] = [0, 0];
    for (const one of all) {
      exact += one[i]!;
      magnitude += Math.abs(one[i]!);
    }
    worst = Math.max(worst, Math.abs(sum[i]! - exact) / magnitude);
  }
  return worst;
}

async function sums(group: Communicator): Promise<unknown[]> {
  const result = [];
  for (const length of [0, 1, 5, 1000, 100_003, ...(argument === "large" ? [LARGE] : [5_000_000])]) {
    const sum = values(length, group.rank);
    await group.allReduceSum(sum);
    result.push({ error: length > 1e6 ? 0 : sumError(sum, group.size), digest: digest(sum) });
    if (length === LARGE) result.push({ error: sumError(sum, group.size), digest: digest(sum.subarray(2 ** 24)) });
  }
  return result;
}

/** How often a timer fires while this process waits for the others. */
async function ticksWhileWaiting(group: Communicator): Promise<number> {
  let ticks = 0;
  const ticking = setInterval(() => ticks++, 1);
  if (group.rank > 0) await new Promise((resolve) => setTimeout(resolve, 100));
  const before = ticks;
  await group.barrier();
  clearInterval(ticking);
  return ticks - before;
}

async function gathered(group: Communicator): Promise<boolean> {
  const own = new Int32Array(LARGE).map((_, i) => i ^ group.rank);
  const all = await group.allGather(own);
  return all.length === LARGE * group.size && all.every((value, i) => value === ((i % LARGE) ^ Math.floor(i / LARGE)));
}

/** Compiles a WebAssembly module, whose interface Node's types lack. */
async function functionOf(bytes: Uint8Array): Promise<() => number> {
  const { WebAssembly } = globalThis as unknown as {
    WebAssembly: { instantiate(bytes: Uint8Array): Promise<{ instance: { exports: { f: () => number } } }> };
  };
  return (await WebAssembly.instantiate(bytes)).instance.exports.f;
}

function caught(work: () => unknown): string {
  try {
    return String(work());
  } catch (error) {
    return (error as Error).constructor.name;
  }
}

async function exchange(group: Communicator): Promise<unknown> {
  const [integers, floats] = await Promise.all([
    group.allGather(Int32Array.of(group.rank, -7)),
    group.allGather(Float32Array.of(group.rank + 0.5)),
  ]);
  const part = Float32Array.of(1, 2, 3, 4);
  await group.allReduceSum(part.subarray(1, 3));
  const outOfBounds = await functionOf(OUT_OF_BOUNDS);
  return {
    rank: group.rank,
    size: group.size,
    localSize: (group as MpiCommunicator).localSize,
    ticks: await ticksWhileWaiting(group),
    sums: await sums(group),
    part: [...part],
    integers: [...integers],
    floats: [...floats],
    large: argument !== "large" || (await gathered(group)),
    unequal: await group.allGather(new Int32Array(group.rank)).catch((error: Error) => error.message),
    text: await group.broadcast(group.rank === 0 ? TEXT : "of another"),
    empty: await group.broadcast(""),
    trap: caught(outOfBounds),
  };
}

/** Steps until it is interrupted, or something happens to it. */
async function train(group: Communicator): Promise<void> {
  let interrupted = 0;
  process.on("SIGINT", () => interrupted++);
  const gradients = new Float32Array(300_000);
  const stop = new Float32Array(1);
  for (let step = 0; stop[0] === 0; step++) {
    group.mark({ step, ...(step >= 10 && { checkpoint: `checkpoints/step-${step - (step % 10)}` }) });
    if (step === 12) await happening(group.rank);
    await group.allReduceSum(gradients);
    stop[0] = interrupted;
    await group.allReduceSum(stop);
  }
  process.stdout.write(`rank ${group.rank} left in order\n`);
}

/** What happens at step 12: to rank 1 a mishap, to the others nothing. */
async function happening(rank: number): Promise<void> {
  if (task === "run") process.stdout.write(`${JSON.stringify({ rank, pid: process.pid })}\n`);
  if (rank !== 1 && task.endsWith("while-waiting")) await new Promise((resolve) => setTimeout(resolve, 60_000));
  if (rank !== 1) return;
  if (task === "throw") throw new Error("the disk is full");
  if (task === "throw-while-waiting") setTimeout(() => Promise.reject(new Error("the disk is full")), 100);
  if (task === "exit-while-waiting") setTimeout(() => process.exit(3), 100);
}

const group = await communicatorFromEnvironment(task === "library" ? { library: argument } : {});
if (task === "exchange") process.stdout.write(`${JSON.stringify(await exchange(group))}\n`);
else await train(group);
await group.close();
await group.close();
process.stdout.write(`${await group.barrier().catch((error: Error) => error.message)}\n`);
