/**
 * JSON (RFC 8259) for headers of untrusted files. Unlike JSON.parse it refuses an object that names a key twice, where
 * two readers of the same file could see different tensors, gives objects as `Map`, so that no key has a special
 * meaning, and limits nesting.
 */
import { ToklipError } from "../core/index.ts";
import { quoted } from "./quoted.ts";

/** A parsed value. Objects are maps in the order of the text. */
export type Json = null | boolean | number | string | Json[] | JsonObject;
/** A JSON object; a Map has no prototype to trip over. */
export type JsonObject = ReadonlyMap<string, Json>;

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;
const WORDS = new Map<string, [text: string, value: Json]>([
  ["t", ["true", true]],
  ["f", ["false", false]],
  ["n", ["null", null]],
]);

/**
 * Parses one JSON value and the white space around it.
 * @param where what to call the text in messages.
 * @param maxDepth how deeply arrays and objects may be nested.
 * @throws FILE_CORRUPT for anything that is not JSON, a duplicate key, or deeper nesting.
 */
export function parseJson(text: string, where: string, maxDepth: number): Json {
  const reader = new JsonReader(text, where, maxDepth);
  const value = reader.value(0);
  if (reader.peek() !== "") throw reader.fault("more text after the value");
  return value;
}

class JsonReader {
  private at = 0;
  private readonly text: string;
  private readonly where: string;
  private readonly maxDepth: number;

  constructor(text: string, where: string, maxDepth: number) {
    this.text = text;
    this.where = where;
    this.maxDepth = maxDepth;
  }

  fault(problem: string, cause?: unknown): ToklipError {
    return new ToklipError("FILE_CORRUPT", `${this.where}: JSON: ${problem} at character ${this.at}`, { cause });
  }

  /** The next character that is not white space, or "" at the end. */
  peek(): string {
    SPACE.lastIndex = this.at;
    SPACE.test(this.text);
    this.at = SPACE.lastIndex;
    return this.text.charAt(this.at);
  }

  value(depth: number): Json {
    const next = this.peek();
    if (next === "{" || next === "[") {
      if (depth === this.maxDepth) throw this.fault(`nested deeper than ${this.maxDepth}`);
      return next === "{" ? this.object(depth + 1) : this.array(depth + 1);
    }
    if (next === '"') return this.string();
    const word = WORDS.get(next);
    if (word === undefined) return this.number();
    if (!this.text.startsWith(word[0], this.at)) throw this.fault("unknown word");
    this.at += word[0].length;
    return word[1];
  }

  private object(depth: number): JsonObject {
    const members = new Map<string, Json>();
    this.members("}", () => {
      if (this.peek() !== '"') throw this.fault("expected a key");
      const key = this.string();
      if (members.has(key)) throw this.fault(`the key ${quoted(key)} comes twice`);
      this.take(":");
      members.set(key, this.value(depth));
    });
    return members;
  }

  private array(depth: number): Json[] {
    const items: Json[] = [];
    this.members("]", () => items.push(this.value(depth)));
    return items;
  }

  /** Members between brackets, separated by commas. */
  private members(close: string, read: () => void): void {
    this.at++;
    if (this.peek() !== close) {
      read();
      while (this.peek() === ",") {
        this.at++;
        read();
      }
    }
    this.take(close);
  }

  private take(character: string): void {
    if (this.peek() !== character) throw this.fault(`expected ${character}`);
    this.at++;
  }

  private string(): string {
    const end = this.closingQuote();
    const literal = this.text.slice(this.at, end + 1);
    try {
      const value = JSON.parse(literal) as string; // for its escapes
      this.at = end + 1;
      return value;
    } catch (cause) {
      throw this.fault("malformed string", cause);
    }
  }

  private closingQuote(): number {
    let quote = this.at;
    for (;;) {
      quote = this.text.indexOf('"', quote + 1);
      if (quote < 0) throw this.fault("unterminated string");
      let slash = quote - 1;
      while (this.text.charAt(slash) === "\\") slash--;
      if ((quote - slash) % 2 === 1) return quote; // an even number of backslashes escapes nothing
    }
  }

  private number(): number {
    NUMBER.lastIndex = this.at;
    const match = NUMBER.exec(this.text);
    if (match === null) throw this.fault("expected a value");
    this.at = NUMBER.lastIndex;
    return Number(match[0]);
  }
}
