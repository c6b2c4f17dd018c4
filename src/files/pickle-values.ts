/** What a pickle gives that plain JavaScript has no word for: names and calls of Python things, all of them inert. */

/** A name of something in a Python module. Nothing is looked up by it. */
export class PickleGlobal {
  readonly module: string;
  readonly name: string;

  constructor(module: string, name: string) {
    this.module = module;
    this.name = name;
  }

  /** The dotted name. */
  toString(): string {
    return `${this.module}.${this.name}`;
  }
}

/** What Python would have made by calling a global: the call itself, which nobody makes here. */
export class PickleObject {
  readonly global: PickleGlobal;
  readonly args: readonly unknown[];
  /** What Python would have passed to `__setstate__`, if the pickle holds it. */
  state: unknown = undefined;
  /** Items set on it, where it stands for a kind of dictionary. */
  entries: Map<unknown, unknown> | undefined = undefined;
  /** Items appended to it, where it stands for a kind of list. */
  items: unknown[] | undefined = undefined;

  constructor(global: PickleGlobal, args: readonly unknown[]) {
    this.global = global;
    this.args = args;
  }
}

/** Takes `units` of the reader's work budget. @throws FILE_UNSUPPORTED when it is spent. */
export type Spend = (units: number) => void;

/**
 * What a known global gives for these arguments, as inert data; undefined where they do not fit it, and the call stays
 * a `PickleObject`. Work beyond a few steps is paid for, since a pickle may pass the same large argument many times.
 */
export type Reducer = (args: readonly unknown[], spend: Spend) => unknown;
/** The calls that a reader knows, by the name of the global. */
export type ReducerTable = ReadonlyMap<string, Reducer>;
