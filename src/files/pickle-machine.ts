/**
 * The stack machine that a pickle is a program for: a stack with marks, a memo of values to come back to, and a budget
 * of work. Values are never copied, only referred to.
 */
import { PickleBytes } from "./pickle-bytes.ts";
import { PLAIN_GLOBALS } from "./pickle-globals.ts";
import { PickleGlobal, PickleObject, type ReducerTable } from "./pickle-values.ts";
import { quoted } from "./quoted.ts";

/** How a pickle is read. */
export interface PickleOptions {
  /** What to call it in messages. */
  readonly name: string;
  /** More globals that give plain data, by `module.name`. */
  readonly globals?: ReducerTable;
  /** What a persistent id stands for: something kept outside the pickle. Without it they are refused. */
  readonly persistent?: (id: unknown) => unknown;
}

/** Units of work: one an opcode, more where it makes or copies something. A checkpoint of 1,000 tensors takes 0.1 M. */
const WORK_BUDGET = 2 ** 23;
/** The price of an array, map, set or object, so that 2^20 of them are the most there can be. */
const CONTAINER_WORK = 8;

/** One run over one pickle. Every method throws `FILE_CORRUPT` where the program asks for what cannot be. */
export class PickleMachine {
  readonly input: PickleBytes;
  readonly memo = new Map<unknown, unknown>();
  private readonly options: PickleOptions;
  private readonly stack: unknown[] = [];
  private readonly marks: number[] = [];
  private budget = WORK_BUDGET;

  constructor(bytes: Uint8Array, options: PickleOptions) {
    this.input = new PickleBytes(bytes, options.name);
    this.options = options;
  }

  spend = (units: number): void => {
    this.budget -= units;
    if (this.budget < 0) throw this.input.fault("more values than a checkpoint has", "FILE_UNSUPPORTED");
  };

  push(value: unknown): void {
    this.stack.push(value);
  }

  /** Pushes something that took memory of its own. */
  pushContainer(value: unknown): void {
    this.spend(CONTAINER_WORK);
    this.stack.push(value);
  }

  top(): unknown {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) throw this.input.fault("nothing on the stack");
    return this.stack.at(-1);
  }

  pop(): unknown {
    this.top();
    return this.stack.pop();
  }

  /** Takes off the top value, or the mark where that is what lies on top. */
  discard(): void {
    if (this.marks.at(-1) === this.stack.length) this.marks.pop();
    else this.pop();
  }

  /** The top `count` values, deepest first, taken off. */
  popMany(count: number): unknown[] {
    return Array.from({ length: count }, () => this.pop()).reverse();
  }

  mark(): void {
    this.marks.push(this.stack.length);
  }

  /** The values above the last mark, taken off with it. */
  popMark(): unknown[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw this.input.fault("no mark on the stack");
    return this.stack.splice(mark);
  }

  popText(): string {
    const value = this.pop();
    if (typeof value !== "string") throw this.input.fault("expected text on the stack");
    return value;
  }

  remember(index: unknown): void {
    this.memo.set(index, this.top());
  }

  recall(index: unknown): void {
    if (!this.memo.has(index)) throw this.input.fault(`nothing remembered as ${index}`);
    this.push(this.memo.get(index));
  }

  /** Stands in for Python's call of a global. */
  call(callee: unknown, args: unknown): void {
    if (!(callee instanceof PickleGlobal)) throw this.input.fault("calls what is not a global", "FILE_UNSUPPORTED");
    const key = callee.toString();
    if (!Array.isArray(args)) throw this.input.fault(`arguments of ${quoted(key)} are not a tuple`);
    const reduce = this.options.globals?.get(key) ?? PLAIN_GLOBALS.get(key);
    const value = reduce?.(args, this.spend);
    this.pushContainer(value === undefined ? new PickleObject(callee, args) : value);
  }

  load(id: unknown): void {
    if (this.options.persistent === undefined) throw this.input.fault("a persistent id", "FILE_UNSUPPORTED");
    this.pushContainer(this.options.persistent(id));
  }

  /** Python's `__setstate__`. Plain data has no state: what OrderedDict carries there is torch's `_metadata`. */
  build(): void {
    const state = this.pop();
    const target = this.top();
    if (target instanceof PickleObject) target.state = state;
  }

  setItems(pairs: readonly unknown[]): void {
    const target = this.top();
    if (pairs.length % 2 !== 0) throw this.input.fault("a key without a value");
    if (target instanceof PickleObject) target.entries ??= new Map();
    const map = target instanceof PickleObject ? target.entries : target;
    if (!(map instanceof Map)) throw this.input.fault("sets items of what is not a dictionary");
    for (let i = 0; i < pairs.length; i += 2) map.set(pairs[i], pairs[i + 1]);
  }

  append(items: readonly unknown[]): void {
    const target = this.top();
    if (target instanceof PickleObject) target.items ??= [];
    const list = target instanceof PickleObject ? target.items : target;
    if (!Array.isArray(list)) throw this.input.fault("appends to what is not a list");
    for (const item of items) list.push(item);
  }

  addToSet(items: readonly unknown[]): void {
    const target = this.top();
    if (!(target instanceof Set)) throw this.input.fault("adds to what is not a set");
    for (const item of items) target.add(item);
  }
}
