// Starts GraphiQL on this hub. Queries and mutations go by POST, subscriptions by
// server-sent events, so that one Authorization header serves both.
(function () {
  'use strict';

  const url = '/graphql';
  // A key may be handed over behind the # of the address, which no server sees.
  const handedOver = new URLSearchParams(location.hash.slice(1)).get('key');
  if (handedOver) {
    history.replaceState(null, '', location.pathname + location.search);
  }

  function isSubscription(params, options) {
    const definitions = (options && options.documentAST && options.documentAST.definitions) || [];
    const operations = definitions.filter((one) => one.kind === 'OperationDefinition');
    const chosen = operations.find((one) => one.name && one.name.value === params.operationName) || operations[0];
    return Boolean(chosen) && chosen.operation === 'subscription';
  }

  // What the examples have made last, for the examples that go on from there: variables
  // hold <eventId> and the like in its place.
  const remembered = JSON.parse(sessionStorage.getItem('hookgraph:remembered') || '{}');
  remembered.hub = location.origin;
  let rules = {}; // paths into answers, by the name under which what lies there is remembered

  function remember(answer) {
    for (const [name, path] of Object.entries(rules)) {
      const value = path.reduce((at, step) => (at === null || at === undefined ? at : at[step]), answer.data);
      if (value) {
        remembered[name] = value;
        sessionStorage.setItem('hookgraph:remembered', JSON.stringify(remembered));
      }
    }
    return answer;
  }

  function filledIn(params) {
    const variables = { ...params.variables };
    for (const [name, value] of Object.entries(variables)) {
      if (typeof value === 'string') {
        variables[name] = value.replace(/<(\w+)>/g, (whole, known) => remembered[known] || whole);
      }
    }
    return { ...params, variables };
  }

  function send(given, headers, accept, signal) {
    const params = filledIn(given);
    return fetch(url, {
      method: 'POST',
      headers: { ...headers, 'Content-Type': 'application/json', Accept: accept },
      body: JSON.stringify(params),
      signal,
    });
  }

  // events yields the payloads of an event stream.
  async function* events(params, headers, signal) {
    const response = await send(params, headers, 'text/event-stream', signal);
    if (!(response.headers.get('Content-Type') || '').startsWith('text/event-stream')) {
      yield await response.json();
      return;
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffered = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        throw new Error('The stream was cut. Run the operation again with the last cursor as "after".');
      }
      buffered += value;
      const complete = buffered.split('\n\n');
      buffered = complete.pop();
      for (const text of complete) {
        const lines = text.split('\n');
        const field = (name) => (lines.find((line) => line.startsWith(name + ':')) || '').slice(name.length + 1).trim();
        if (field('event') === 'complete') {
          return;
        }
        if (field('event') === 'next') {
          yield JSON.parse(field('data'));
        }
      }
    }
  }

  // subscribe is an iterator that ends the request when GraphiQL stops it.
  function subscribe(params, headers) {
    const abort = new AbortController();
    const payloads = events(params, headers, abort.signal);
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      next: () =>
        payloads.next().catch((failure) => {
          if (abort.signal.aborted) {
            return { done: true, value: undefined };
          }
          throw failure;
        }),
      return: async () => {
        abort.abort();
        return { done: true, value: undefined };
      },
    };
  }

  function newFetcher() {
    return (params, options) => {
      const headers = (options && options.headers) || {};
      if (isSubscription(params, options)) {
        return subscribe(params, headers);
      }
      return send(params, headers, 'application/json')
        .then((response) => response.json())
        .then(remember);
    };
  }

  function authorization(headers) {
    try {
      return JSON.parse(headers).Authorization || '';
    } catch (malformed) {
      return null; // it is being typed
    }
  }

  function Explorer({ examples }) {
    const [fetcher, setFetcher] = React.useState(newFetcher);
    const known = React.useRef('');
    const onEditHeaders = (headers) => {
      const given = authorization(headers);
      if (given !== null && given !== known.current) {
        known.current = given;
        setFetcher(() => newFetcher()); // a new one makes GraphiQL ask for the schema again
      }
    };
    const headers = JSON.stringify({ Authorization: 'Bearer ' + (handedOver || '') }, null, 2);
    return React.createElement(GraphiQL, {
      fetcher,
      defaultTabs: examples.map(({ query, variables }) => ({
        query,
        variables: JSON.stringify(variables, null, 2),
        headers,
      })),
      defaultHeaders: headers,
      headers: handedOver ? headers : undefined,
      defaultEditorToolsVisibility: handedOver ? 'variables' : 'headers',
      onEditHeaders,
      isHeadersEditorEnabled: true,
      shouldPersistHeaders: true,
    });
  }

  fetch('/graphiql/examples.json')
    .then((response) => response.json())
    .then((examples) => {
      rules = Object.assign({}, ...examples.map((example) => example.remember || {}));
      ReactDOM.createRoot(document.getElementById('explorer')).render(React.createElement(Explorer, { examples }));
    });
})();
