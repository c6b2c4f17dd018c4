/** Text that is read as it is written: from ids, one after the other, to what of the text is there for sure. */
import type { TextTokenizer } from "./text-tokenizer.ts";

/** A character of which some bytes are missing. */
const INCOMPLETE = /\uFFFD+$/u;

/** The pieces of one text. Joined they are the text of all ids. */
export class TextStream {
  private readonly tokenizer: Pick<TextTokenizer, "textOf">;
  private readonly ids: number[] = [];
  private shown = "";

  constructor(tokenizer: Pick<TextTokenizer, "textOf">) {
    this.tokenizer = tokenizer;
  }

  /** Takes the next id and gives what it adds to the text: nothing while a character is not complete. */
  push(id: number): string {
    this.ids.push(id);
    return this.show(this.tokenizer.textOf(this.ids).replace(INCOMPLETE, ""));
  }

  /** What is left when there are no more ids. */
  end(): string {
    return this.show(this.tokenizer.textOf(this.ids));
  }

  private show(text: string): string {
    const added = text.slice(this.shown.length);
    if (added.length > 0) this.shown = text;
    return added;
  }
}
