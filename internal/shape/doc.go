// Package shape learns what JSON documents look like from examples, and turns
// such knowledge, or a JSON Schema that somebody gave, into other notations:
// JSON Schema 2020-12, TypeScript, GraphQL SDL. It also checks documents against
// a schema.
//
// A [Shape] is what is known of the documents of one event type: which types
// occur where, which properties are always there, which strings are dates or
// identifiers. It holds no value of any document. Keys that are data themselves
// (addresses, identifiers, dates, tokens) are values too: an object that has such
// keys is a map, of which the shape keeps what is under the keys and never a key.
//
// Shapes grow and never shrink, and learning is order-free: the same samples give
// the same shape whatever their order, and however they were spread over shapes
// that are merged afterwards. The one exception is a shape that meets [MaxNodes]:
// it stays right and bounded, but where it was cut may depend on the order.
//
// Documents and schemas come from outside. Every function here takes time linear
// in the document, or a bounded number of steps, and bounded memory.
//
// Where shapes are kept, when samples are taken and who is told of a change is
// left to others.
package shape
