package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/node/api"
)

// rootCommand puts the commands together.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "peerdex",
		Short: "Browse and search the files of all your devices, also while they sleep",
		Long: `peerdex keeps the file index (names, sizes, times; not contents) of every one of
your devices on all the others, so that each can browse and search all of them,
also while the others are off.

  peerdex demo            see it work, with nothing to set up
  peerdex up FOLDER       index a folder of this device
  peerdex invite          add another device (there: peerdex up, peerdex join)
  peerdex find WORD       search all devices`,
		SilenceErrors: true, SilenceUsage: true,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains([]string{"auto", "always", "never"}, a.flags.color) {
				return &api.Error{Code: api.CodeUsage, Title: fmt.Sprintf("--color=%s: it is auto, always or never", quote(a.flags.color))}
			}
			a.started = true
			return nil
		},
	}
	cobra.EnableCommandSorting = false // within a group the order is ours
	root.SuggestionsMinimumDistance = 2
	a.globalFlags(root)
	groups := []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"start", "Start:", []*cobra.Command{a.upCommand(), a.downCommand(), a.addCommand(), a.rmCommand(), a.locationsCommand(), a.scanCommand()}},
		{"devices", "Devices:", []*cobra.Command{a.inviteCommand(), a.joinCommand(), a.devicesCommand(), a.policyCommand(), a.syncCommand()}},
		{"find", "Find:", []*cobra.Command{a.findCommand(), a.lsCommand(), a.infoCommand()}},
		{"more", "More:", []*cobra.Command{a.statusCommand(), a.transfersCommand(), a.sameCommand(), a.checkCommand(), a.exportCommand(), a.importCommand(), a.demoCommand(), a.serveCommand(), a.pathsCommand(), a.versionCommand()}},
	}
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.SetHelpCommandGroupID("more")
	root.SetCompletionCommandGroupID("more")
	root.AddCommand(helpTopics()...)
	return root
}

// unknownCommand refuses a word that is no command, and names the ones it may have been meant for.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := &api.Error{Code: api.CodeUsage, Title: "there is no command " + quote(args[0]), Hint: "peerdex help"}
	if close := cmd.SuggestionsFor(args[0]); len(close) > 0 {
		e.Hint = "peerdex " + strings.Join(close, ", or peerdex ")
	}
	return e
}

// atMost refuses more than n arguments.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage(cmd, "too many arguments: "+quote(args[n]))
		}
		return nil
	}
}

func (a *app) globalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.flags.dir, "dir", "", "keep everything in this folder (environment: PEERDEX_DIR)")
	f.BoolVar(&a.flags.json, "json", false, "print answers as JSON, one object a line (see: peerdex help json)")
	f.BoolVarP(&a.flags.quiet, "quiet", "q", false, "no notes and no progress on standard error")
	f.BoolVarP(&a.flags.verbose, "verbose", "v", false, "say more on standard error")
	f.StringVar(&a.flags.color, "color", "auto", "colours: auto, always or never (NO_COLOR is heeded)")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		title, _, _ := strings.Cut(err.Error(), ": strconv.") // what follows is for programmers
		return usage(c, title)
	})
}

// helpTopics are pages without a command.
func helpTopics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesHelp},
		{Use: "query", Short: "What a search can say", Long: queryHelp},
		{Use: "json", Short: "What --json prints", Long: jsonHelp},
		{Use: "config", Short: "The configuration file and the environment", Long: configHelp},
	}
}

const exitCodesHelp = `Exit codes

    0  it worked; something was found
    1  nothing was found, or a check failed
    2  the command was not used right, or what was asked is not possible
    3  it failed
    4  no daemon runs, or peerdex is not set up here yet
    5  another daemon is running on the same data
    6  not paired, or refused by the other device
  130  interrupted

Treat a code that is not in the list as a failure.`

const queryHelp = `A query is words and operators; an entry is found when all of them hold. Names are
searched, not contents; a word with a slash looks at paths.

  report 2026           the name holds both words, in any order
  "annual report"       it holds these words together (in a shell: '"annual report"')
  report !draft         ... and not this one; -draft says the same (after a --)
  IMG_*.jpg  ch-??      * is anything, ? is one character: the whole name must fit
  scan[0-9].[!p]*       [...] is one of these characters, [!...] none of them
  docs/inv              inv... in a folder ...docs
  docs/*.pdf            a PDF in a folder docs; docs/**/*.pdf at any depth below it
  /tank/*/*.pdf         with a slash in front: from the top of the device

  ext:jpg,png           one of these extensions                    -e jpg -e png
  size:>10M             larger than; also size:<1k, size:1M..2G    -S '>10M'
  modified:<7d          changed in the last seven days             --modified '<7d'
  modified:2026-03      in that month; also 2026, 2026-03-14, today, 2026-01..2026-03
  type:d                f file, d folder, l symlink, o other       -t d
  kind:image,video      by extension; also audio, doc, archive, code      -k image
  name:bill,invoice     the name holds one of these                --name bill
  path:/tank/photos     this folder and all below it; path:photos wherever it is   -p photos
  on:nas,laptop         on one of these devices                    -d nas -d laptop
  location:photos       in locations of this name                  --location photos
  !ext:tmp              an operator turned round

--sort name, size or modified puts the hits in order, with a - behind it the
other way round: --sort size-.

A word without capitals is found in any case, one with a capital only as it is.
K, M, G, T are powers of 1024; ages are in s, min, h, d, w, mo and y.`

const jsonHelp = `With --json every answer is one JSON object a line on standard output:

  {"v":1,"kind":"status","data":{...}}

find and ls print one line a hit (kind "hit") and then one line of kind
"summary" with the count and, for each device, as of when it was answered.
If --limit ended a find, the last hit has "next": find the same --after that
to go on. A hit that another device was asked for has "via": which one, and
whether it is unverified (not from its owner) or cached. If not everything could
be searched, "missing" in the summary says what.
Other commands print one line; invite prints two, the ticket and the outcome.

An error is one such line of kind "error" on standard error, with code, title,
detail and hint. Times are RFC 3339, durations nanoseconds. A path that is not
valid UTF-8 has its exact bytes in base64 beside it, in a field ending in _raw.

"v" rises when existing data changes its meaning. New kinds and new fields may
come at any time: ignore what you don't know.`

const configHelp = `The file is config.toml; "peerdex paths" says where. All keys are optional:

  name = "nas"                 name of this device, used when it is created
  reach = "lan"                "lan": the local network; "loopback": this machine only
  listen = ["/ip4/0.0.0.0/tcp/4001"]
  peers = ["/dns4/nas.lan/tcp/4001/p2p/12D3..."]    addresses that are always tried
  scan_every = "1h"
  metered = true               the network is paid for by what it carries: large
                               indexes are asked, not fetched (see: peerdex policy)

  [limit]                      of all that peerdex sends and receives together
  up = "500kB/s"
  down = "1MB/s"

  [mdns]
  enabled = true               find devices on the local network
  interfaces = ["eth0"]        only there

The environment goes before the file, and flags before the environment:

  PEERDEX_DIR       as --dir
  PEERDEX_REACH     as --reach
  PEERDEX_TICKET    the ticket for "peerdex join"
  NO_COLOR          no colours`
