package model

// Node is anything that has an ID of its own.
type Node interface{ IsNode() }

// IsNode marks the nouns that node(id:) resolves.
func (*Source) IsNode()            {}
func (*Event) IsNode()             {}
func (*Rejection) IsNode()         {}
func (*Endpoint) IsNode()          {}
func (*EventSubscription) IsNode() {}
func (*Delivery) IsNode()          {}
func (*Attempt) IsNode()           {}
