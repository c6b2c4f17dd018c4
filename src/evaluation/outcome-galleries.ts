/** Pictures that a classifier got right and wrong, for the report. */
import type { Dataset } from "../data/index.ts";
import type { ClassOutcomes } from "./class-outcomes.ts";
import type { EvaluationGallery, EvaluationPicture } from "./evaluation.ts";
import type { FeatureRows } from "./feature-rows.ts";
import type { EvaluationSession } from "./session.ts";
import { spread } from "./spread.ts";

const SHOWN = 16;

/**
 * One gallery of what was wrong and one of what was right.
 * @param classOf tells which test rows the outcomes are of, as of `matchClasses`
 */
export async function outcomeGalleries(
  session: EvaluationSession,
  dataset: Dataset,
  test: FeatureRows,
  classOf: (label: number) => number,
  { classes, truth, chosen }: ClassOutcomes,
): Promise<EvaluationGallery[]> {
  const rows = [...truth.keys()];
  const galleries = [
    {
      title: "Given a wrong class",
      verdict: "wrong",
      rows: spread(
        rows.filter((row) => truth[row] !== chosen[row]),
        SHOWN,
      ),
    },
    {
      title: "Given the right class",
      verdict: "right",
      rows: spread(
        rows.filter((row) => truth[row] === chosen[row]),
        SHOWN,
      ),
    },
  ] as const;
  const keys = await keysOf(test, classOf, new Set(galleries.flatMap((gallery) => gallery.rows)));
  const views = await session.views(dataset, new Set(keys.values()));
  const draw = async (row: number, verdict: "right" | "wrong"): Promise<EvaluationPicture[]> => {
    const view = views.get(keys.get(row)!);
    if (view === undefined) return [];
    const [own, given] = [classes[truth[row]!]!, classes[chosen[row]!]!];
    const caption = verdict === "right" ? own : `${own}, taken for ${given}`;
    return [{ png: await session.pictures.encodePng(view), caption, verdict }];
  };
  return Promise.all(
    galleries.map(async ({ title, verdict, rows }) => {
      const pictures = await Promise.all(rows.map((row) => draw(row, verdict)));
      return { title, pictures: pictures.flat() };
    }),
  );
}

/** The keys of some of the rows that take part, by their numbers among them. */
async function keysOf(test: FeatureRows, classOf: (label: number) => number, wanted: ReadonlySet<number>) {
  const keys = new Map<number, string>();
  let row = 0;
  for await (const block of test.blocks()) {
    for (const [i, label] of block.labels.entries()) {
      if (classOf(label) < 0) continue;
      if (wanted.has(row)) keys.set(row, block.keys[i]!);
      row++;
    }
  }
  return keys;
}
