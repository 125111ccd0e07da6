package store

import (
	"encoding/json"
	"fmt"
)

// seal encrypts a value for one column of one row.
func (s *Store) seal(table, id, name string, value any) ([]byte, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("seal %s of %s: %w", name, id, err)
	}
	sealed, err := s.cfg.Keyring.Seal(plain, bound(table, id, name))
	if err != nil {
		return nil, fmt.Errorf("seal %s of %s: %w", name, id, err)
	}
	return sealed, nil
}

// open decrypts what seal has made of a value.
func (s *Store) open(table, id, name string, sealed []byte, value any) error {
	plain, err := s.cfg.Keyring.Open(sealed, bound(table, id, name))
	if err != nil {
		return fmt.Errorf("the secret key does not open the %s of %s, set HOOKGRAPH_SECRET_KEY to the key this database was written with: %w", name, id, err)
	}
	if err := json.Unmarshal(plain, value); err != nil {
		return fmt.Errorf("open %s of %s: %w", name, id, err)
	}
	return nil
}

// bound ties a sealed value to its place, so that it cannot be moved to another.
func bound(table, id, name string) []byte { return []byte(table + "/" + id + "/" + name) }
