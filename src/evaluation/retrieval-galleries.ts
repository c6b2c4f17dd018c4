/** Pictures of what retrieval found and missed, for the report. */
import type { Dataset } from "../data/index.ts";
import type { EvaluationGallery, EvaluationPicture } from "./evaluation.ts";
import type { RetrievalRanks } from "./recall-ranks.ts";
import type { EvaluationSession } from "./session.ts";
import { spread } from "./spread.ts";

/** What the galleries need of the captions: see `IndexedCaptions`. */
interface Found {
  readonly pictures: readonly string[];
  readonly texts: readonly string[];
  readonly index: { readonly pictures: Int32Array; readonly texts: Int32Array };
}

/** Examples of each kind in a gallery. */
const SHOWN = 12;

interface Example {
  readonly picture: number;
  readonly caption: string;
  readonly verdict: "right" | "wrong";
}

/** Pictures with the caption that fits them best, and captions with the picture that does; half of them wrong. */
export async function retrievalGalleries(
  session: EvaluationSession,
  dataset: Dataset,
  found: Found,
  ranks: RetrievalRanks,
): Promise<EvaluationGallery[]> {
  const galleries = [
    { title: "Pictures, and the caption that fits best", examples: pictureExamples(found, ranks) },
    { title: "Captions, and the picture that fits best", examples: captionExamples(found, ranks) },
  ];
  const shown = galleries.flatMap(({ examples }) => examples.map(({ picture }) => found.pictures[picture]!));
  const views = await session.views(dataset, new Set(shown));
  return Promise.all(
    galleries.map(async ({ title, examples }) => {
      const drawn = examples.map(async ({ picture, caption, verdict }): Promise<EvaluationPicture[]> => {
        const view = views.get(found.pictures[picture]!);
        return view === undefined ? [] : [{ png: await session.pictures.encodePng(view), caption, verdict }];
      });
      return { title, pictures: (await Promise.all(drawn)).flat() };
    }),
  );
}

function pictureExamples({ texts, index }: Found, ranks: RetrievalRanks): Example[] {
  const own = new Map<number, string[]>();
  for (const [caption, picture] of index.pictures.entries()) {
    const known = own.get(picture) ?? [];
    own.set(picture, [...known, texts[index.texts[caption]!]!]);
  }
  const examples = Array.from(own, ([picture, captions]): Example => {
    const first = texts[ranks.firstText[picture]!]!;
    return captions.includes(first)
      ? { picture, caption: first, verdict: "right" }
      : { picture, caption: `${first} (its own: ${captions[0]})`, verdict: "wrong" };
  });
  return someOfBoth(examples);
}

function captionExamples({ pictures, texts, index }: Found, ranks: RetrievalRanks): Example[] {
  const examples = Array.from(index.pictures, (own, caption): Example => {
    const [first, text] = [ranks.firstPicture[caption]!, texts[index.texts[caption]!]!];
    return first === own
      ? { picture: first, caption: text, verdict: "right" }
      : { picture: first, caption: `${text} (meant: ${pictures[own]})`, verdict: "wrong" };
  });
  return someOfBoth(examples);
}

function someOfBoth(examples: readonly Example[]): Example[] {
  const of = (verdict: Example["verdict"]) => examples.filter((example) => example.verdict === verdict);
  return [...spread(of("right"), SHOWN), ...spread(of("wrong"), SHOWN)];
}
