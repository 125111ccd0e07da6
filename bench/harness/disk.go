package harness

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Disk measures what a durable write costs at the least.
type Disk struct {
	f     *os.File
	block [4096]byte
}

// NewDisk makes a file in the directory to write to.
func NewDisk(dir string) (*Disk, error) {
	f, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		return nil, err
	}
	return &Disk{f: f}, nil
}

// Close closes the file.
func (d *Disk) Close() error { return d.f.Close() }

// Sync appends 4 KiB and returns how long it took until they were on the disk.
func (d *Disk) Sync() (time.Duration, error) {
	began := time.Now()
	if _, err := d.f.Write(d.block[:]); err != nil {
		return 0, err
	}
	err := syscall.Fdatasync(int(d.f.Fd()))
	return time.Since(began), err
}
