package policy

// Commit is a transaction that LiteFS has carried out and that nobody has been
// told of yet: it brought database DB to Pos.
type Commit struct {
	DB  string
	Pos Pos
}
