package model

// Node is anything that has an ID of its own.
type Node interface{ IsNode() }

// IsNode marks Source as a Node.
func (*Source) IsNode() {}

// IsNode marks Event as a Node.
func (*Event) IsNode() {}

// IsNode marks Rejection as a Node.
func (*Rejection) IsNode() {}

// IsNode marks Endpoint as a Node.
func (*Endpoint) IsNode() {}

// IsNode marks EventSubscription as a Node.
func (*EventSubscription) IsNode() {}

// IsNode marks Delivery as a Node.
func (*Delivery) IsNode() {}

// IsNode marks Attempt as a Node.
func (*Attempt) IsNode() {}

// IsNode marks Partner as a Node.
func (*Partner) IsNode() {}

// IsNode marks APIKey as a Node.
func (*APIKey) IsNode() {}

// IsNode marks Document as a Node.
func (*Document) IsNode() {}

// IsNode marks EventType as a Node.
func (*EventType) IsNode() {}
