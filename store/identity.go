package store

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ErrIdentity is returned when the file with the device's key holds something else.
var ErrIdentity = errors.New("the device's key can't be read")

// loadIdentity reads the device's key, or makes one at first start.
func loadIdentity(path string, p *steps) (ed25519.PrivateKey, error) {
	key, err := readIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	// A key lost beside an existing database must not be replaced silently: the device would become another one.
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "node.db")); err == nil {
		return nil, fmt.Errorf("%s is missing beside node.db: restore it from a backup, or move the data folder away to start as a new device: %w", path, ErrNotFound)
	}
	_, key, err = ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	return key, writeFileDurable(path, p, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// readIdentity reads a PKCS #8 key in PEM.
func readIdentity(path string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: not a private key in PEM: %w", path, ErrIdentity)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (%w)", path, ErrIdentity, err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an Ed25519 key: %w", path, ErrIdentity)
	}
	return key, nil
}

// writeFileDurable writes a small private file so that a crash leaves the old state or the new one.
func writeFileDurable(path string, p *steps, b []byte) error {
	if err := p.at("file: write"); err != nil {
		return fmt.Errorf("write %s: %w", path, fsError(err))
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, fsError(err))
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, fsError(err))
	}
	if err := p.at("file: rename"); err != nil {
		return fmt.Errorf("write %s: %w", path, fsError(err))
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	p.passed("file: renamed")
	return syncDir(filepath.Dir(path))
}

// fsError gives a full disk its name.
func fsError(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w (%w)", ErrDiskFull, err)
	}
	return err
}
