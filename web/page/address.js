// Addresses of pairs elsewhere: what a visitor may write, and the folder that it means.

const HUB = 'https://huggingface.co';
/** Hosts that name the Hugging Face hub. */
const HUB_HOSTS = new Set(['huggingface.co', 'www.huggingface.co', 'hf.co']);
const REPOSITORY = /^([\w.-]+)\/([\w.-]+?)(?:@(\S+))?$/;
/** Words after a repository's name on the hub that a revision follows. */
const VIEWS = new Set(['tree', 'blob', 'resolve', 'raw']);
/** Not only https is safe there: these hosts are this device. */
const OWN_DEVICE = /^(localhost|127\.0\.0\.1)$/;

const EXAMPLES = 'Write a Hugging Face repository (owner/name or owner/name@revision) or the https address of a folder that holds pair.json.';

function onHub(owner, name, revision, folder = '') {
  const label = `${owner}/${name}${revision === 'main' ? '' : `@${revision}`}${folder && `/${folder}`}`;
  const below = folder && `${folder.split('/').map(encodeURIComponent).join('/')}/`;
  return { label, base: `${HUB}/${owner}/${name}/resolve/${encodeURIComponent(revision)}/${below}` };
}

/** A folder's path, whether it was written with pair.json, with a slash at the end, or without. */
const folderOf = (path) => path.replace(/\/?(pair\.json)?$/, '');

/** The parts of a path, as they are read. */
function partsOf(path, written) {
  try {
    return path.split('/').map(decodeURIComponent);
  } catch {
    throw new Error(`“${written}” has a % that stands for no character (a % itself is written %25). ${EXAMPLES}`);
  }
}

/**
 * The folder that `text` means: {label, base}, where files of the pair lie at `base` + path. `page` is the address of this page.
 * Throws an error that says what is expected, where it means none.
 */
export function placeOf(text, page = location.href) {
  const written = text.trim();
  const short = REPOSITORY.exec(written);
  if (short && !/^\.+$/.test(short[1])) return onHub(short[1], short[2], short[3] ?? 'main');
  let address;
  try {
    address = new URL(written);
  } catch {
    throw new Error(`“${written}” is no address. ${EXAMPLES}`);
  }
  const { protocol, hostname, pathname } = address;
  if (protocol !== 'https:' && protocol !== 'http:') throw new Error(`“${written}” does not begin with https. ${EXAMPLES}`);
  if (address.username || address.password) throw new Error('An address with a user name or a password in it is not taken: the page would keep it.');
  if (address.search) throw new Error(`“${written}” has a question mark, and a folder’s address has none. ${EXAMPLES}`);
  if (protocol === 'http:' && !OWN_DEVICE.test(hostname)) {
    throw new Error(`${hostname} is named with http, and pages may only load over https, or from localhost. Try the same address with https.`);
  }
  if (HUB_HOSTS.has(hostname)) {
    const [owner, name, view, revision, ...folder] = partsOf(folderOf(pathname.slice(1)), written);
    if (!owner || !name || ['datasets', 'spaces'].includes(owner)) throw new Error(`“${written}” is no model on Hugging Face. ${EXAMPLES}`);
    return VIEWS.has(view) && revision ? onHub(owner, name, revision, folder.join('/')) : onHub(owner, name, 'main');
  }
  const base = new URL(`${folderOf(pathname)}/`, address.origin).href;
  if (base === new URL('.', page).href) throw new Error(`“${written}” is this page itself. ${EXAMPLES}`);
  return { label: base.replace(/^https?:\/\//, '').replace(/\/$/, ''), base };
}

/** Whether a folder's files come from the Hugging Face hub. */
export const isOnHub = (base) => base.startsWith(`${HUB}/`);
