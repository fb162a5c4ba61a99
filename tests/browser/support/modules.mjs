// Modules of the page that need no page, for tests without a browser.
import fs from 'node:fs';
import path from 'node:path';
import { root } from './site.mjs';

const address = (text) => `data:text/javascript;base64,${Buffer.from(text).toString('base64')}`;
const read = (name) => fs.readFileSync(path.join(root, 'web', 'page', name), 'utf8')
  .replaceAll(/from '\.\/([\w-]+\.js)'/g, (_, other) => `from '${address(read(other))}'`);

/** web/page/`name`, with what it imports. */
export const load = (name) => import(address(read(name)));
