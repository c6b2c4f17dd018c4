/**
 * Braces in names, as shells expand them: `{a,b}` gives both, `{00..12}` and `{a..e}` every one from first to last,
 * `{0..9..3}` every third. Braces nest. As in Bash, braces without a comma or a range stand for themselves, and a range
 * is padded with zeros where one of its ends is. What differs: nothing is escaped, and unbalanced braces are an error.
 */
import { ToklipError } from "../core/index.ts";

/** The most names that one pattern may expand to. */
export const MAX_NAMES = 1_000_000;
/** The most characters that they may have together. */
const MAX_CHARACTERS = 2 ** 29;
const MAX_DEPTH = 16;

const NUMBERS = /^(\d{1,15})\.\.(\d{1,15})(?:\.\.(\d{1,15}))?$/;
const LETTERS = /^([a-zA-Z])\.\.([a-zA-Z])$/;

/**
 * The names that a pattern stands for, in order.
 * @throws DATA_INVALID for unbalanced braces, nesting deeper than 16, and more than a million names
 */
export function expandBraces(pattern: string): string[] {
  checkBalance(pattern);
  return expand(pattern);
}

/** Text and braces in turn: the names are the products of what each stands for. */
function expand(pattern: string): string[] {
  let names = [""];
  let at = 0;
  for (let open = pattern.indexOf("{"); open >= 0; open = pattern.indexOf("{", at)) {
    const close = closingBrace(pattern, open);
    const before = pattern.slice(at, open);
    const options = alternatives(pattern.slice(open + 1, close));
    checkLimit(names.length * options.length, pattern);
    names = products(names, before, options);
    at = close + 1;
  }
  const rest = pattern.slice(at);
  return rest === "" ? names : names.map((name) => name + rest);
}

function products(names: readonly string[], between: string, options: readonly string[]): string[] {
  const all: string[] = [];
  for (const name of names) for (const option of options) all.push(name + between + option);
  return all;
}

/** What stands between a pair of braces. */
function alternatives(body: string): string[] {
  const [, first, last, step = "1"] = NUMBERS.exec(body) ?? [];
  if (first !== undefined && last !== undefined) return numberRange(first, last, Number(step) || 1);
  const [, from, to] = LETTERS.exec(body) ?? [];
  if (from !== undefined && to !== undefined) {
    return sequence(from.charCodeAt(0), to.charCodeAt(0), 1, body).map((code) => String.fromCharCode(code));
  }
  const options = splitAtCommas(body);
  if (options.length === 1) return expand(body).map((name) => `{${name}}`);
  const names: string[] = [];
  for (const option of options) {
    for (const name of expand(option)) names.push(name);
    checkLimit(names.length, body);
  }
  return names;
}

function numberRange(first: string, last: string, step: number): string[] {
  const isPadded = /^0\d/.test(first) || /^0\d/.test(last);
  const width = isPadded ? Math.max(first.length, last.length) : 0;
  return sequence(Number(first), Number(last), step, `${first}..${last}`).map((n) => String(n).padStart(width, "0"));
}

/** The numbers from first to last, up or down. */
function sequence(first: number, last: number, step: number, text: string): number[] {
  const length = Math.floor(Math.abs(last - first) / step) + 1;
  checkLimit(length, text);
  const direction = last < first ? -step : step;
  return Array.from({ length }, (_, i) => first + i * direction);
}

/** Commas within inner braces do not count. */
function splitAtCommas(body: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < body.length; i++) {
    const character = body.charAt(i);
    if (character === "{") depth++;
    else if (character === "}") depth--;
    else if (character === "," && depth === 0) {
      parts.push(body.slice(start, i));
      start = i + 1;
    }
  }
  return [...parts, body.slice(start)];
}

function closingBrace(pattern: string, open: number): number {
  for (let i = open, depth = 0; ; i++) {
    if (pattern.charAt(i) === "{") depth++;
    else if (pattern.charAt(i) === "}" && --depth === 0) return i;
  }
}

function checkBalance(pattern: string): void {
  let depth = 0;
  for (const character of pattern) {
    if (character === "{") depth++;
    else if (character === "}") depth--;
    if (depth < 0) break;
    if (depth > MAX_DEPTH) throw invalid(pattern, `braces are nested deeper than ${MAX_DEPTH}`);
  }
  if (depth !== 0) throw invalid(pattern, "a brace has no partner");
}

function checkLimit(names: number, pattern: string): void {
  if (names > MAX_NAMES) throw invalid(pattern, `expands to more than ${MAX_NAMES} names`);
  if (names * pattern.length > MAX_CHARACTERS) throw invalid(pattern, "expands to too many long names");
}

function invalid(pattern: string, problem: string): ToklipError {
  const shown = pattern.length > 200 ? `${pattern.slice(0, 200)}...` : pattern;
  return new ToklipError("DATA_INVALID", `${shown}: ${problem}`);
}
