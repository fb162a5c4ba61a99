// What can be passed on: a link with the same settings, and files.

const $ = (id) => document.getElementById(id);

/** An address of this page that opens with these settings; `given` are parameters that a pair from elsewhere needs. */
export function linkOf({ tab, pair, lengths, runs, engine, given = {} }, base) {
  const link = new URL(base);
  link.search = '';
  link.hash = '';
  const wanted = { tab, ...(Object.keys(given).length ? given : { pair }), lengths: lengths.join(','), runs, engine };
  for (const [name, value] of Object.entries(wanted)) if (value || value === 0) link.searchParams.set(name, value);
  // A comma may stand in a query as it is, and reads better.
  return link.href.replaceAll('%2C', ',');
}

/**
 * What a link to a result's pair needs, as `linkOf` takes it, or the reason why there is no link as a text. `shipped` are the names of the pairs that come with
 * the page; one that was `opened` from the past or from a file may be of another page's.
 */
export function settingsOf({ pair, source, adapter }, shipped, opened) {
  // Without the word a browser takes WebGPU where it can.
  const engine = adapter.engine === 'cpu' ? 'cpu' : null;
  if (source?.kind === 'files') {
    return `${opened ? 'This run is of files that somebody chose' : 'This pair came from your own files'}, which no link can reach; pass on the picture or the JSON instead.`;
  }
  if (source?.kind === 'address') return { given: { model: source.address }, engine };
  const name = source?.name ?? pair;
  if (!opened || shipped.includes(name)) return { pair: name, engine };
  return `The pair “${pair}” does not come with this page, so that no link can ask for it; pass on the picture or the JSON instead.`;
}

/** Offers a file for saving. */
export function save(content, type, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Says what came of it, next to the buttons. */
function say(words) { $('share-said').textContent = words; }

/** Shows the address itself, marked, where it cannot be copied. */
function show(link) {
  $('share-link').hidden = false;
  $('share-link').value = link;
  $('share-link').select();
}

/**
 * Ties the buttons to `settings()`, which gives what `linkOf` takes, or the reason why there is no link as a text;
 * `words()` goes along where the device can pass something on.
 */
export function makeSharing(settings, words) {
  const link = () => {
    const now = settings();
    if (typeof now !== 'string') return linkOf(now, location.href);
    say(now);
    return null;
  };
  $('copy-link').addEventListener('click', async () => {
    const address = link();
    if (!address) return;
    try {
      await navigator.clipboard.writeText(address);
      $('share-link').hidden = true;
      say('The link is copied. It opens this page with the same pair, lengths and runs; the figures are measured anew there.');
    } catch {
      show(address);
      say('This browser does not let the page copy; the link is marked, ready for you to copy.');
    }
  });
  $('share').hidden = !navigator.share;
  $('share').addEventListener('click', async () => {
    const url = link();
    if (!url) return;
    try {
      await navigator.share({ title: document.title, text: words(), url });
      say('');
    } catch (error) {
      // To think better of it is no failure.
      if (error.name !== 'AbortError') { show(url); say('Sharing did not work; the link is marked, ready for you to copy.'); }
    }
  });
  return { clear() { say(''); $('share-link').hidden = true; } };
}
