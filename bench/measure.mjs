// What the benchmarks share: interleaved timing, a peer process, tables. Ratios within one run are what counts.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return /** @type {number} */ (sorted[Math.floor(sorted.length / 2)]);
}

/** @param {() => Promise<unknown>} act @returns {Promise<number>} milliseconds */
export async function time(act) {
  const start = performance.now();
  await act();
  return performance.now() - start;
}

/**
 * Runs each entry in turn, round after round, so that a slow moment of the machine meets them all.
 * @param {Record<string, () => Promise<number>>} entries each gives the milliseconds of one run
 * @param {{ rounds: number, warmup?: number }} options
 * @returns {Promise<Record<string, { median: number, best: number }>>}
 */
export async function interleave(entries, { rounds, warmup = 1 }) {
  /** @type {Record<string, number[]>} */
  const times = Object.fromEntries(Object.keys(entries).map((name) => [name, []]));
  for (let round = -warmup; round < rounds; round++) {
    for (const [name, run] of Object.entries(entries)) {
      const ms = await run();
      if (round >= 0) times[name]?.push(ms);
    }
  }
  return Object.fromEntries(
    Object.entries(times).map(([name, all]) => [name, { median: median(all), best: Math.min(...all) }]),
  );
}

/** A process that answers each line with one number. @param {string} command */
export function startPeer(command) {
  const child = spawn(command, { shell: true, stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    /** @param {string} line @returns {Promise<number>} */
    async ask(line) {
      child.stdin.write(`${line}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`the peer stopped: ${command}`);
      return Number(value);
    },
    stop: () => child.stdin.end(),
  };
}

/** Prints rows as a Markdown table. @param {readonly string[]} head @param {readonly (readonly (string | number)[])[]} rows */
export function printTable(head, rows) {
  const line = (/** @type {readonly (string | number)[]} */ cells) => `| ${cells.join(" | ")} |`;
  console.log([line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n"));
}

/** The value of `--name` on the command line. @param {string} name @param {string} [fallback] */
export function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}
