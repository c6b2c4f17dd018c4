/**
 * Rows of comma- and tab-separated tables (RFC 4180): fields in double quotes may hold separators, line ends and, doubled,
 * quotes. A quote inside a field that does not begin with one is a character like others, as tables of captions have it.
 */

/** What may stand between fields. */
export type CsvSeparator = "," | "\t";

/** The fields of a row; undefined where a quote is not closed, or something follows a closed one. */
export function parseCsvRow(row: string, separator: CsvSeparator): string[] | undefined {
  const fields: string[] = [];
  for (let at = 0; ; at++) {
    const isQuoted = row[at] === '"';
    const end = isQuoted ? closingQuote(row, at) : row.indexOf(separator, at);
    if (!isQuoted) fields.push(row.slice(at, end < 0 ? row.length : end));
    else if (end >= 0) fields.push(row.slice(at + 1, end).replaceAll('""', '"'));
    else return undefined;
    if (!isQuoted && end < 0) return fields;
    at = isQuoted ? end + 1 : end;
    if (at === row.length) return fields;
    if (row[at] !== separator) return undefined;
  }
}

/** The quote that closes the field opened at `at`; -1 where there is none. */
function closingQuote(row: string, at: number): number {
  for (let quote = row.indexOf('"', at + 1); quote >= 0; quote = row.indexOf('"', quote + 2)) {
    if (row[quote + 1] !== '"') return quote;
  }
  return -1;
}

/** The separator of a header row: the one that makes more columns of it. */
export function guessSeparator(header: string): CsvSeparator {
  const columns = (separator: CsvSeparator) => parseCsvRow(header, separator)?.length ?? 0;
  return columns("\t") > columns(",") ? "\t" : ",";
}
