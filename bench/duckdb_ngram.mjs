/* What DuckDB takes for the sums of an ngram file of the version of 2012, sorted and written to a
 * file. Types are given, so that nothing is sniffed; columns that are not used are not converted.
 *
 * Needs Node.js and the package @duckdb/node-api, found from the folder it is started in:
 * `npm install @duckdb/node-api`, then `node duckdb_ngram.mjs FILE OUT THREADS`. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.cwd() + '/');
const { DuckDBInstance } = await import(pathToFileURL(require.resolve('@duckdb/node-api')));
const [file, out, threads, how = ''] = process.argv.slice(2);
const quoted = (path) => `'${path.replaceAll("'", "''")}'`;
const db = await DuckDBInstance.create(':memory:', { threads });
const connection = await db.connect();
for (const setting of how.split(';').filter(Boolean)) await connection.run(setting);
const start = process.hrtime.bigint();
await connection.run(`
	COPY (SELECT ngram, sum(matches) AS total
	      FROM read_csv(${quoted(file)}, delim = '\t', header = false, quote = '', escape = '',
	                    auto_detect = false, strict_mode = false,
	                    columns = {'ngram': 'VARCHAR', 'year': 'USMALLINT',
	                               'matches': 'BIGINT', 'volumes': 'UINTEGER'})
	      GROUP BY ngram ORDER BY total DESC, ngram)
	TO ${quoted(out)} (FORMAT csv, DELIMITER '\t', HEADER false, QUOTE '')`);
console.log(JSON.stringify({
	version: (await connection.runAndReadAll('SELECT version()')).getRows()[0][0],
	query_ns: Number(process.hrtime.bigint() - start),
}));
