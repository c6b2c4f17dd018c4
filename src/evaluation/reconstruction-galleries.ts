/** The pictures of a reconstruction report: how PSNR is spread; the worst, the middle and the best pairs. */
import { ndarray } from "../core/index.ts";
import type { Dataset } from "../data/index.ts";
import { fromPixels, psnrOf } from "../image/index.ts";
import { gridOf } from "../models/index.ts";
import { sideBySide } from "../pipelines/reconstruct.ts";
import type { EvaluationGallery, EvaluationPicture } from "./evaluation.ts";
import { psnrSvg } from "./psnr-histogram.ts";
import type { MeasuredPicture, ReconstructionMeasure } from "./reconstruction-measure.ts";
import type { EvaluationSession, PassedRows } from "./session.ts";

/** What the pictures are drawn of. */
interface Measured {
  readonly pictures: PassedRows;
  readonly measure: ReconstructionMeasure;
  /** Of each row. */
  readonly psnrs: readonly number[];
}

/** A row that is shown. */
interface ShownPicture extends MeasuredPicture {
  readonly key: string;
}

const SHOWN = 8;

/** The galleries. */
export async function reconstructionGalleries(
  session: EvaluationSession,
  dataset: Dataset,
  measured: Measured,
): Promise<EvaluationGallery[]> {
  const { pictures: writer } = session;
  const chosen = chooseRows(measured.psnrs);
  const shown = await findRows(measured, new Set(chosen.flatMap(({ rows }) => rows)));
  const views = await session.views(dataset, new Set(Array.from(shown.values(), ({ key }) => key)));
  const draw = async (row: number): Promise<EvaluationPicture[]> => {
    const picture = shown.get(row);
    const view = picture && views.get(picture.key);
    if (view === undefined) return [];
    const pair = sideBySide(view, await rebuild(session, picture!));
    return [{ png: await writer.encodePng(pair), caption: captionOf(picture!) }];
  };
  const galleries: EvaluationGallery[] = [
    {
      title: "PSNR",
      pictures: [{ png: await writer.renderSvg(psnrSvg(measured.psnrs)), caption: "PSNR of the pictures" }],
    },
  ];
  for (const { title, rows } of chosen) {
    const pictures: EvaluationPicture[] = [];
    for (const row of rows) pictures.push(...(await draw(row)));
    galleries.push({ title, pictures });
  }
  return galleries;
}

/** The ends and the middle of the order of PSNR, no row twice. */
function chooseRows(psnrs: readonly number[]): { readonly title: string; readonly rows: readonly number[] }[] {
  const order = [...psnrs.keys()].sort((a, b) => psnrs[a]! - psnrs[b]! || a - b);
  const each = Math.min(SHOWN, Math.ceil(order.length / 3));
  const worst = order.splice(0, each);
  const best = order.splice(Math.max(0, order.length - each)).reverse();
  const middle = Math.max(0, Math.floor((order.length - each) / 2));
  const median = order.slice(middle, middle + each);
  return [
    { title: "Worst: original and reconstruction", rows: worst },
    { title: "Median: original and reconstruction", rows: median },
    { title: "Best: original and reconstruction", rows: best },
  ];
}

async function findRows({ pictures, measure: { read, width } }: Measured, wanted: ReadonlySet<number>) {
  const found = new Map<number, ShownPicture>();
  let row = 0;
  for await (const { features, keys } of pictures.blocks()) {
    for (const [i, key] of keys.entries()) {
      if (wanted.has(row)) found.set(row, { key, ...read(features.slice(i * width, (i + 1) * width)) });
      row++;
    }
  }
  return found;
}

async function rebuild({ model }: EvaluationSession, { ids }: MeasuredPicture) {
  const { side } = gridOf(model.config.trunk);
  return fromPixels(await model.decodeIds(ndarray("i32", [1, side, side], Int32Array.from(ids))));
}

function captionOf({ key, squared, ssim }: ShownPicture): string {
  const quality = squared === 0 ? "equal" : `${psnrOf(squared).toFixed(2)} dB`;
  return `${key}: ${quality}, SSIM ${ssim.toFixed(3)}`;
}
