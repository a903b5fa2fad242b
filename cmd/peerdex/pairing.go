package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/peerdex/peerdex/node/api"
)

const (
	// maxTicket bounds what is read as a ticket, in bytes.
	maxTicket = 4 << 10
	// joinGrace is how long join waits for the other device to tell of a first location.
	joinGrace = 3 * time.Second
	// joinStall is how long join waits without anything being received.
	joinStall = 20 * time.Second
)

func (a *app) inviteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "invite",
		Short: "Let another device join",
		Long: `Print a ticket for one other device and wait until that device has joined. The
ticket is a secret: whoever has it can join. It works once, for ten minutes.
On the other device run "peerdex up" and then "peerdex join". Ctrl-C cancels.`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.invite(cmd.Context()) },
	}
}

func (a *app) invite(ctx context.Context) error {
	d, err := a.daemon(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	inv, err := d.Invite(ctx)
	if err != nil {
		return err
	}
	a.note("On the other device run:  peerdex join\nand paste this ticket:")
	a.answer("invite", inv, func() { a.say("%s", inv.Ticket) })
	a.note("It works once, until %s. Waiting… (Ctrl-C cancels)", inv.Expires.Local().Format("15:04"))
	o, err := d.WaitInvite(ctx, inv.ID)
	if err != nil {
		if ctx.Err() != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
			defer cancel()
			if cancelErr := d.CancelInvite(undo, inv.ID); cancelErr != nil {
				a.note("note: the ticket could not be cancelled: %v", cancelErr)
			}
		}
		return err
	}
	if a.flags.json {
		a.printJSON(a.out, "invite_outcome", o)
	}
	if !o.Joined {
		return &api.Error{Code: api.CodeDenied, Title: "no device joined", Detail: "the ticket is void: " + o.Reason, Hint: "peerdex invite"}
	}
	a.note("Paired with %s (%s). Each device now finds the other's files.", quote(o.Device.Name), o.Device.Short)
	return nil
}

func (a *app) joinCommand() *cobra.Command {
	var noWait bool
	c := &cobra.Command{
		Use:   "join [-]",
		Short: "Join the devices of whoever made the ticket",
		Long: `Join with the ticket that "peerdex invite" shows on another device. The ticket is
asked for, or read from standard input when that is no terminal (always with -),
or taken from the environment variable PEERDEX_TICKET. It is never an argument,
since others on this machine could see it there.

Then it waits until the other device's index has arrived.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || (len(args) == 1 && args[0] == "-") {
				return nil
			}
			return &api.Error{Code: api.CodeUsage, Title: "a ticket is not given as an argument",
				Detail: "other users of this machine could see it there", Hint: "peerdex join    (it asks for the ticket)"}
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.join(cmd.Context(), len(args) == 1, noWait) },
	}
	c.Flags().BoolVar(&noWait, "no-wait", false, "return as soon as this device is a member")
	return c
}

func (a *app) join(ctx context.Context, stdin, noWait bool) error {
	d, err := a.daemon(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	ticket, err := a.readTicket(ctx, stdin)
	if err != nil {
		return err
	}
	r, err := d.Join(ctx, api.JoinRequest{Ticket: ticket})
	if err != nil {
		return err
	}
	a.answer("join", r, func() {
		names := make([]string, 0, len(r.Devices))
		for i := range r.Devices {
			if n := quote(r.Devices[i].Name); r.Devices[i].Self {
				names = append(names, n+" (this one)")
			} else {
				names = append(names, n)
			}
		}
		a.say("Joined %s. Devices: %s", quote(r.Inviter.Name), strings.Join(names, ", "))
	})
	if noWait {
		return nil
	}
	return a.waitReceived(ctx, d, r.Inviter)
}

// waitReceived shows progress until everything known of a device has been received. What it can't wait for goes on
// in the background.
func (a *app) waitReceived(ctx context.Context, b api.Backend, of api.Device) error {
	var got []api.Location
	begun, moved := a.now(), a.now()
	var sum int64
	err := a.follow(ctx, b, func(ctx context.Context) (bool, error) {
		st, err := b.Status(ctx)
		if err != nil {
			return false, err
		}
		got = got[:0]
		complete := true
		total := st.Traffic.BytesIn
		for _, l := range st.Locations {
			if l.Owner == of.ID {
				got = append(got, l)
				complete = complete && l.State != api.StateNever && l.State != api.StateSyncing && l.State != api.StateBehind
			}
		}
		if total != sum {
			sum, moved = total, a.now()
		}
		now := a.now()
		if len(got) == 0 {
			return now.Sub(begun) > joinGrace, nil
		}
		return complete || now.Sub(moved) > joinStall, nil
	})
	if err != nil {
		return err
	}
	for i := range got {
		l := &got[i]
		if l.Newest() {
			a.note("Received %s: %s, %s, as of %s", quote(l.Device), quote(l.Name), count(l.Entries, "entry"), asOf(l.AsOf, a.now()))
		} else {
			a.note("%s: %s is still to come: peerdex status", quote(l.Device), quote(l.Name))
		}
	}
	if len(got) == 0 {
		a.note("%s has told of no folder yet. What it indexes will arrive by itself.", quote(of.Name))
	}
	return nil
}

// readTicket gets the ticket without it ever being on a command line or on the screen.
func (a *app) readTicket(ctx context.Context, stdin bool) (string, error) {
	var ticket string
	var err error
	switch env := a.getenv("PEERDEX_TICKET"); {
	case !stdin && env != "":
		ticket = env
	case !stdin && a.inTTY:
		ticket, err = a.promptTicket(ctx)
	default:
		ticket, err = bufio.NewReader(io.LimitReader(a.in, maxTicket)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("read the ticket: %w", err)
	}
	if ticket = strings.TrimSpace(ticket); ticket == "" {
		return "", &api.Error{Code: api.CodeUsage, Title: "no ticket was given",
			Detail: `"peerdex invite" on the other device shows one`, Hint: "peerdex join"}
	}
	return ticket, nil
}

// promptTicket asks at the terminal. The echo is off before the prompt shows, and on again however this ends.
func (a *app) promptTicket(ctx context.Context) (ticket string, err error) {
	fd := int(a.in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, term.Restore(fd, before)) }()
	type answer struct {
		ticket string
		err    error
	}
	ch := make(chan answer, 1)
	go func() { // ends with the process at the latest: nothing can interrupt a read of the terminal
		t := term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{keyboard{a.in}, a.err}, "")
		line, err := t.ReadPassword("Ticket (it is not shown): ")
		ch <- answer{line, err}
	}()
	select {
	case got := <-ch:
		if errors.Is(got.err, io.EOF) {
			got.err = nil // Ctrl-D: no ticket
		}
		return got.ticket, got.err
	case <-ctx.Done():
		fmt.Fprint(a.err, "\r\n")
		return "", ctx.Err()
	}
}

// keyboard is a terminal in raw mode, where Ctrl-C is a byte like others.
type keyboard struct{ io.Reader }

func (k keyboard) Read(b []byte) (int, error) {
	n, err := k.Reader.Read(b)
	if bytes.IndexByte(b[:n], 3) >= 0 {
		return 0, errInterrupted
	}
	return n, err
}

func (a *app) devicesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "devices",
		Short: "List the devices of this library",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, release, err := a.reader(cmd.Context())
			if err != nil {
				return err
			}
			defer release()
			st, err := r.Status(cmd.Context())
			if err != nil {
				return err
			}
			a.answer("devices", allDevices(&st), func() { a.printDevices(&st) })
			return nil
		},
	}
}

// allDevices is this device and the others.
func allDevices(st *api.Status) []api.Device {
	return append([]api.Device{st.Device}, st.Devices...)
}

func (a *app) printDevices(st *api.Status) {
	rows := make([]table.Row, 0, len(st.Devices)+1)
	for _, d := range allDevices(st) {
		rows = append(rows, table.Row{quote(d.Name), d.Short, a.deviceState(&d, st.Running), a.deviceAsOf(st, &d), a.lastSeen(&d), quote(d.Address)})
	}
	a.say("%s", renderTable(table.Row{"device", "id", "state", "as of", "last seen", "address"}, rows))
	for i := range st.Devices {
		if d := &st.Devices[i]; !d.Connected && d.LastError != "" {
			a.note("note: %s: %s", quote(d.Name), oneLine(d.LastError))
		}
	}
}

// deviceState is one of "this device", "connected" and "offline".
func (a *app) deviceState(d *api.Device, running bool) string {
	switch {
	case d.Self:
		return "this device"
	case d.Connected && running:
		return "connected"
	}
	return a.paint(yellow, "offline", a.outTTY)
}

func (a *app) lastSeen(d *api.Device) string {
	if d.Self || d.Connected {
		return "now"
	}
	return asOf(d.LastSeen, a.now())
}

// deviceAsOf is how old what is known of a device is, "-" when it has no location.
func (a *app) deviceAsOf(st *api.Status, d *api.Device) string {
	all := searchedOnce(st.Locations, nil)
	if !slices.ContainsFunc(all, func(l api.Location) bool { return l.Owner == d.ID }) {
		return "-"
	}
	return asOf(deviceAge(all, d), a.now())
}

// deviceAge is how old the oldest part of a device's index is; zero when it has none, or one never received.
func deviceAge(locations []api.Location, d *api.Device) time.Time {
	var oldest time.Time
	first := true
	for i := range locations {
		l := &locations[i]
		if l.Owner != d.ID || l.State == api.StateRetired {
			continue
		}
		if first || l.AsOf.Before(oldest) {
			oldest, first = l.AsOf, false
		}
	}
	return oldest
}
