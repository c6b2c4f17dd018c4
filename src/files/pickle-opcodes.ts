/**
 * The opcodes of pickle protocols 0 to 5: one row an opcode, by Python's names.
 * Reference: https://github.com/python/cpython/blob/main/Lib/pickletools.py
 */
import { plainInteger } from "./pickle-globals.ts";
import type { PickleMachine } from "./pickle-machine.ts";
import { PickleGlobal } from "./pickle-values.ts";

type Step = (machine: PickleMachine) => void;

/** Ends the program; the value is on top of the stack. */
export const STOP = 0x2e;

const MAX_PROTOCOL = 5;
/** Integers longer than this, in bytes or digits, are not numbers of a checkpoint, and slow to parse. */
const MAX_INTEGER_LENGTH = 1024;

/** Pushes what `take` gives. */
const push =
  (take: (machine: PickleMachine) => unknown): Step =>
  (m) =>
    m.push(take(m));

/** Pushes what `make` makes. */
const make =
  (value: (machine: PickleMachine) => unknown): Step =>
  (m) =>
    m.pushContainer(value(m));

const refuse =
  (what: string): Step =>
  (m) => {
    throw m.input.fault(what, "FILE_UNSUPPORTED");
  };

const protocol: Step = (m) => {
  const version = m.input.u8();
  if (version > MAX_PROTOCOL) refuse(`protocol ${version}, expected at most ${MAX_PROTOCOL}`)(m);
};

function decimal(m: PickleMachine, text: string): number | bigint {
  if (text.length > MAX_INTEGER_LENGTH || !/^-?\d+$/.test(text)) throw m.input.fault("malformed integer");
  m.spend(text.length);
  return plainInteger(BigInt(text));
}

/** INT also spells the booleans of the first protocols. */
function textInteger(m: PickleMachine): unknown {
  const line = m.input.line();
  return line === "00" ? false : line === "01" ? true : decimal(m, line);
}

function textLong(m: PickleMachine): number | bigint {
  return decimal(m, m.input.line().replace(/L$/, ""));
}

function binaryLong(m: PickleMachine, length: number): number | bigint {
  if (length > MAX_INTEGER_LENGTH || length < 0) throw m.input.fault(`an integer of ${length} bytes`);
  m.spend(length);
  return plainInteger(m.input.integer(length));
}

const SPECIAL_FLOATS = new Map([
  ["inf", Number.POSITIVE_INFINITY],
  ["-inf", Number.NEGATIVE_INFINITY],
  ["nan", Number.NaN],
]);

function textFloat(m: PickleMachine): number {
  const line = m.input.line();
  const special = SPECIAL_FLOATS.get(line);
  if (special !== undefined) return special;
  if (!/^-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$/.test(line)) throw m.input.fault("malformed float");
  return Number(line);
}

const ESCAPES = new Map([
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
]);

/** A quoted Python 2 string, as `repr` writes it. */
function quotedText(m: PickleMachine): string {
  const match = /^(['"])(.*)\1$/s.exec(m.input.line());
  if (match === null) throw m.input.fault("malformed string");
  return match[2]!.replace(/\\(?:x([0-9a-fA-F]{2})|(.))/gs, (_, hex: string | undefined, other: string) =>
    hex === undefined ? (ESCAPES.get(other) ?? other) : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

/** Text in which only what a line cannot hold is escaped. */
function escapedText(m: PickleMachine): string {
  const pattern = /\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g;
  return m.input.line().replace(pattern, (whole, short: string | undefined, long: string) => {
    const code = Number.parseInt(short ?? long, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

function oldText(m: PickleMachine): string {
  const length = m.input.i32();
  if (length < 0) throw m.input.fault(`text of ${length} bytes`);
  return m.input.latin1(length);
}

const dict: Step = (m) => {
  const pairs = m.popMark();
  m.pushContainer(new Map());
  m.setItems(pairs);
};

const namedGlobal = (m: PickleMachine): PickleGlobal => new PickleGlobal(m.input.line(), m.input.line());

function stackGlobal(m: PickleMachine): PickleGlobal {
  const name = m.popText();
  return new PickleGlobal(m.popText(), name);
}

const reduce: Step = (m) => {
  const args = m.pop();
  m.call(m.pop(), args);
};

const newWithKeywords: Step = (m) => {
  m.discard();
  reduce(m);
};

const instance: Step = (m) => m.call(namedGlobal(m), m.popMark());

const object: Step = (m) => {
  const [callee, ...args] = m.popMark();
  m.call(callee, args);
};

const PROTOCOL_AND_STACK: [number, Step][] = [
  [0x80, protocol], // PROTO
  [0x95, (m) => void m.input.u64()], // FRAME
  [0x28, (m) => m.mark()], // MARK
  [0x30, (m) => m.discard()], // POP
  [0x31, (m) => void m.popMark()], // POP_MARK
  [0x32, push((m) => m.top())], // DUP
];

const NUMBERS: [number, Step][] = [
  [0x4e, push(() => null)], // NONE
  [0x88, push(() => true)], // NEWTRUE
  [0x89, push(() => false)], // NEWFALSE
  [0x49, push(textInteger)], // INT
  [0x4c, push(textLong)], // LONG
  [0x46, push(textFloat)], // FLOAT
  [0x4a, push((m) => m.input.i32())], // BININT
  [0x4b, push((m) => m.input.u8())], // BININT1
  [0x4d, push((m) => m.input.u16())], // BININT2
  [0x8a, push((m) => binaryLong(m, m.input.u8()))], // LONG1
  [0x8b, push((m) => binaryLong(m, m.input.i32()))], // LONG4
  [0x47, push((m) => m.input.f64())], // BINFLOAT
];

const TEXT_AND_BYTES: [number, Step][] = [
  [0x53, push(quotedText)], // STRING
  [0x56, push(escapedText)], // UNICODE
  [0x54, push(oldText)], // BINSTRING
  [0x55, push((m) => m.input.latin1(m.input.u8()))], // SHORT_BINSTRING
  [0x8c, push((m) => m.input.text(m.input.u8()))], // SHORT_BINUNICODE
  [0x58, push((m) => m.input.text(m.input.u32()))], // BINUNICODE
  [0x8d, push((m) => m.input.text(m.input.u64()))], // BINUNICODE8
  [0x43, make((m) => m.input.take(m.input.u8()))], // SHORT_BINBYTES
  [0x42, make((m) => m.input.take(m.input.u32()))], // BINBYTES
  [0x8e, make((m) => m.input.take(m.input.u64()))], // BINBYTES8
  [0x96, make((m) => m.input.take(m.input.u64()))], // BYTEARRAY8
  [0x97, refuse("an out-of-band buffer")], // NEXT_BUFFER
  [0x98, refuse("an out-of-band buffer")], // READONLY_BUFFER
];

const CONTAINERS: [number, Step][] = [
  [0x29, make(() => [])], // EMPTY_TUPLE
  [0x74, make((m) => m.popMark())], // TUPLE
  [0x85, make((m) => m.popMany(1))], // TUPLE1
  [0x86, make((m) => m.popMany(2))], // TUPLE2
  [0x87, make((m) => m.popMany(3))], // TUPLE3
  [0x5d, make(() => [])], // EMPTY_LIST
  [0x6c, make((m) => m.popMark())], // LIST
  [0x61, (m) => m.append(m.popMany(1))], // APPEND
  [0x65, (m) => m.append(m.popMark())], // APPENDS
  [0x7d, make(() => new Map())], // EMPTY_DICT
  [0x64, dict], // DICT
  [0x73, (m) => m.setItems(m.popMany(2))], // SETITEM
  [0x75, (m) => m.setItems(m.popMark())], // SETITEMS
  [0x8f, make(() => new Set())], // EMPTY_SET
  [0x90, (m) => m.addToSet(m.popMark())], // ADDITEMS
  [0x91, make((m) => new Set(m.popMark()))], // FROZENSET
];

const MEMO: [number, Step][] = [
  [0x70, (m) => m.remember(decimal(m, m.input.line()))], // PUT
  [0x71, (m) => m.remember(m.input.u8())], // BINPUT
  [0x72, (m) => m.remember(m.input.u32())], // LONG_BINPUT
  [0x94, (m) => m.remember(m.memo.size)], // MEMOIZE
  [0x67, (m) => m.recall(decimal(m, m.input.line()))], // GET
  [0x68, (m) => m.recall(m.input.u8())], // BINGET
  [0x6a, (m) => m.recall(m.input.u32())], // LONG_BINGET
];

const GLOBALS_AND_OBJECTS: [number, Step][] = [
  [0x63, make(namedGlobal)], // GLOBAL
  [0x93, make(stackGlobal)], // STACK_GLOBAL
  [0x52, reduce], // REDUCE
  [0x81, reduce], // NEWOBJ
  [0x92, newWithKeywords], // NEWOBJ_EX
  [0x69, instance], // INST
  [0x6f, object], // OBJ
  [0x62, (m) => m.build()], // BUILD
  [0x50, (m) => m.load(m.input.line())], // PERSID
  [0x51, (m) => m.load(m.pop())], // BINPERSID
  [0x82, refuse("the extension registry")], // EXT1
  [0x83, refuse("the extension registry")], // EXT2
  [0x84, refuse("the extension registry")], // EXT4
];

/** What each opcode does. */
export const STEPS: ReadonlyMap<number, Step> = new Map([
  ...PROTOCOL_AND_STACK,
  ...NUMBERS,
  ...TEXT_AND_BYTES,
  ...CONTAINERS,
  ...MEMO,
  ...GLOBALS_AND_OBJECTS,
]);
