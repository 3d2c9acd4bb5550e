package module_test

import (
	"slices"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/module"
)

func TestSlotsInOneCall(t *testing.T) {
	h := start(t)
	h.wantRPCs(1, func() {
		for _, present := range []bool{true, false} {
			slots, err := h.SlotList(present)
			h.must(err)
			if !slices.Equal(slots, []uint64{slotA, slotOpen, slotFree}) {
				t.Errorf("slots %v", slots)
			}
		}
		info, err := h.SlotInfo(slotA)
		h.must(err)
		if info.Flags != cryptoki.CKF_TOKEN_PRESENT {
			t.Errorf("slot %+v", info)
		}
		token, err := h.TokenInfo(slotA)
		h.must(err)
		if token.Label != "a" || token.MinPinLen != 4 || token.Flags&cryptoki.CKF_LOGIN_REQUIRED == 0 {
			t.Errorf("token %+v", token)
		}
		mechanisms, err := h.MechanismList(slotA)
		h.must(err)
		if !slices.Contains(mechanisms, cryptoki.CKM_ECDSA) || !slices.IsSorted(mechanisms) {
			t.Errorf("mechanisms %v", mechanisms)
		}
		for _, m := range mechanisms {
			_, err := h.MechanismInfo(slotA, m)
			h.must(err)
		}
		_, err = h.MechanismInfo(slotA, cryptoki.CKM_VENDOR_DEFINED)
		want(t, err, cryptoki.CKR_MECHANISM_INVALID)
		_, err = h.SlotInfo(99)
		want(t, err, cryptoki.CKR_SLOT_ID_INVALID)
		_, err = h.WaitForSlotEvent(cryptoki.CKF_DONT_BLOCK)
		want(t, err, cryptoki.CKR_NO_EVENT)
	})
}

func TestDaemonDown(t *testing.T) {
	d := newDaemon(t)
	d.stop()
	h := newHost(t, d, ";timeout=300ms")
	began := time.Now()
	slots, err := h.SlotList(true)
	if err != nil || len(slots) != 0 {
		t.Errorf("slots %v, %v", slots, err)
	}
	_, err = h.OpenSession(slotA, ro)
	want(t, err, cryptoki.CKR_DEVICE_ERROR)
	if waited := time.Since(began); waited > 2*time.Second {
		t.Errorf("waited %v", waited)
	}
	d.start()
	time.Sleep(1100 * time.Millisecond)
	if slots, err := h.SlotList(true); err != nil || len(slots) != 3 {
		t.Errorf("slots %v, %v", slots, err)
	}
	s := h.open(slotA, ro)
	d.stop()
	_, err = s.GenerateRandom(8)
	want(t, err, cryptoki.CKR_DEVICE_ERROR)
	if s.Info().DeviceError == 0 {
		t.Error("ulDeviceError is 0 after CKR_DEVICE_ERROR")
	}
}

func TestSessions(t *testing.T) {
	h := start(t)
	_, err := h.OpenSession(slotA, 0)
	want(t, err, cryptoki.CKR_SESSION_PARALLEL_NOT_SUPPORTED)
	_, err = h.OpenSession(99, ro)
	want(t, err, cryptoki.CKR_SLOT_ID_INVALID)
	_, err = h.OpenSession(slotFree, ro)
	want(t, err, cryptoki.CKR_TOKEN_NOT_RECOGNIZED)
	a, b := h.open(slotA, ro), h.open(slotA, rw)
	if a.Handle() == 0 || a.Handle() == b.Handle() {
		t.Errorf("handles %d, %d", a.Handle(), b.Handle())
	}
	info, err := h.TokenInfo(slotA)
	h.must(err)
	if info.SessionCount != 2 || info.RwSessionCount != 1 {
		t.Errorf("%d sessions, %d writing", info.SessionCount, info.RwSessionCount)
	}
	if got := b.Info(); got.Slot != slotA || got.Flags != rw || got.State != cryptoki.CKS_RW_PUBLIC_SESSION {
		t.Errorf("session %+v", got)
	}
	want(t, h.InitToken(slotA, []byte(soPIN), "x"), cryptoki.CKR_SESSION_EXISTS)
	h.must(h.CloseSession(a.Handle()))
	want(t, h.CloseSession(a.Handle()), cryptoki.CKR_SESSION_HANDLE_INVALID)
	h.must(h.CloseAllSessions(slotA))
	_, err = h.Session(b.Handle())
	want(t, err, cryptoki.CKR_SESSION_HANDLE_INVALID)
}

// TestLogin walks the rules of C_Login and C_Logout. Each step is a word; a session is closed after its test.
func TestLogin(t *testing.T) {
	const (
		ok      = cryptoki.CKR_OK
		already = cryptoki.CKR_USER_ALREADY_LOGGED_IN
		another = cryptoki.CKR_USER_ANOTHER_ALREADY_LOGGED_IN
	)
	type step struct {
		do string
		rv cryptoki.RV
	}
	for name, steps := range map[string][]step{
		"user twice":      {{"open ro", ok}, {"user", ok}, {"user", already}, {"so", another}, {"logout", ok}, {"logout", cryptoki.CKR_USER_NOT_LOGGED_IN}},
		"so in ro":        {{"open ro", ok}, {"so", cryptoki.CKR_SESSION_READ_ONLY_EXISTS}},
		"so beside ro":    {{"open ro", ok}, {"open rw", ok}, {"so", cryptoki.CKR_SESSION_READ_ONLY_EXISTS}},
		"ro beside so":    {{"open rw", ok}, {"so", ok}, {"open ro", cryptoki.CKR_SESSION_READ_WRITE_SO_EXISTS}, {"so", already}, {"user", another}},
		"ro after so":     {{"open rw", ok}, {"so", ok}, {"logout", ok}, {"open ro", ok}, {"user", ok}},
		"wrong pin":       {{"open rw", ok}, {"wrong", cryptoki.CKR_PIN_INCORRECT}, {"logout", cryptoki.CKR_USER_NOT_LOGGED_IN}, {"user", ok}},
		"context, no op":  {{"open rw", ok}, {"user", ok}, {"context", cryptoki.CKR_OPERATION_NOT_INITIALIZED}},
		"no such user":    {{"open rw", ok}, {"nobody", cryptoki.CKR_USER_TYPE_INVALID}},
		"init pin public": {{"open rw", ok}, {"init pin", cryptoki.CKR_USER_NOT_LOGGED_IN}},
		"init pin user":   {{"open rw", ok}, {"user", ok}, {"init pin", cryptoki.CKR_USER_NOT_LOGGED_IN}},
		"init pin so":     {{"open rw", ok}, {"so", ok}, {"init pin", ok}, {"logout", ok}, {"user", cryptoki.CKR_PIN_INCORRECT}, {"new", ok}},
		"set pin ro":      {{"open ro", ok}, {"user", ok}, {"set pin", cryptoki.CKR_SESSION_READ_ONLY}},
		"set pin":         {{"open rw", ok}, {"set pin", ok}, {"user", cryptoki.CKR_PIN_INCORRECT}, {"new", ok}},
		"set pin as user": {{"open rw", ok}, {"user", ok}, {"set pin", ok}, {"logout", ok}, {"new", ok}},
		"set pin wrong":   {{"open rw", ok}, {"set pin", ok}, {"set pin", cryptoki.CKR_PIN_INCORRECT}},
		"last one closed": {{"open rw", ok}, {"user", ok}, {"close", ok}, {"open rw", ok}, {"logout", cryptoki.CKR_USER_NOT_LOGGED_IN}},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			var handle uint64
			for _, step := range steps {
				var err error
				s, _ := h.Session(handle)
				switch step.do {
				case "open ro", "open rw":
					flags := ro
					if step.do == "open rw" {
						flags = rw
					}
					var opened uint64
					if opened, err = h.OpenSession(slotA, flags); err == nil {
						handle = opened
					}
				case "close":
					err = h.CloseSession(handle)
				case "user":
					err = s.Login(cryptoki.CKU_USER, []byte(userPIN))
				case "new":
					err = s.Login(cryptoki.CKU_USER, []byte("new pin"))
				case "wrong":
					err = s.Login(cryptoki.CKU_USER, []byte("wrong"))
				case "so":
					err = s.Login(cryptoki.CKU_SO, []byte(soPIN))
				case "context":
					err = s.Login(cryptoki.CKU_CONTEXT_SPECIFIC, []byte(userPIN))
				case "nobody":
					err = s.Login(17, []byte(userPIN))
				case "logout":
					err = s.Logout()
				case "init pin":
					err = s.InitPIN([]byte("new pin"))
				case "set pin":
					err = s.SetPIN([]byte(userPIN), []byte("new pin"))
				}
				t.Log(step.do)
				want(t, err, step.rv)
			}
		})
	}
}

func TestStates(t *testing.T) {
	h := start(t)
	reads, writes := h.open(slotA, ro), h.open(slotA, rw)
	check := func(a, b cryptoki.State) {
		t.Helper()
		if reads.Info().State != a || writes.Info().State != b {
			t.Errorf("states %d, %d; want %d, %d", reads.Info().State, writes.Info().State, a, b)
		}
	}
	check(cryptoki.CKS_RO_PUBLIC_SESSION, cryptoki.CKS_RW_PUBLIC_SESSION)
	h.must(reads.Login(cryptoki.CKU_USER, []byte(userPIN)))
	check(cryptoki.CKS_RO_USER_FUNCTIONS, cryptoki.CKS_RW_USER_FUNCTIONS)
	h.must(writes.Logout())
	check(cryptoki.CKS_RO_PUBLIC_SESSION, cryptoki.CKS_RW_PUBLIC_SESSION)
	h.must(h.CloseSession(reads.Handle()))
	h.must(writes.Login(cryptoki.CKU_SO, []byte(soPIN)))
	check(cryptoki.CKS_RW_SO_FUNCTIONS, cryptoki.CKS_RW_SO_FUNCTIONS)
}

func TestWrongPINShowsInTheFlags(t *testing.T) {
	h := start(t)
	info, err := h.TokenInfo(slotA)
	h.must(err)
	if info.Flags&cryptoki.CKF_USER_PIN_COUNT_LOW != 0 {
		t.Fatal("count low already")
	}
	s := h.open(slotA, ro)
	want(t, s.Login(cryptoki.CKU_USER, []byte("wrong")), cryptoki.CKR_PIN_INCORRECT)
	if info, err = h.TokenInfo(slotA); err != nil || info.Flags&cryptoki.CKF_USER_PIN_COUNT_LOW == 0 {
		t.Errorf("flags %x, %v", info.Flags, err)
	}
}

func TestInitToken(t *testing.T) {
	h := start(t)
	h.must(h.InitToken(slotFree, []byte("so-pin"), "fresh                           "))
	info, err := h.TokenInfo(slotFree)
	h.must(err)
	if info.Label != "fresh" || info.Flags&cryptoki.CKF_TOKEN_INITIALIZED == 0 {
		t.Errorf("token %+v", info)
	}
	slots, err := h.SlotList(false)
	h.must(err)
	if !slices.Equal(slots, []uint64{slotA, slotOpen, slotFree, slotFree + 1}) {
		t.Errorf("slots %v", slots)
	}
	s := h.open(slotFree, rw)
	want(t, s.Login(cryptoki.CKU_USER, []byte("1234")), cryptoki.CKR_USER_PIN_NOT_INITIALIZED)
	h.must(s.Login(cryptoki.CKU_SO, []byte("so-pin")))
	h.must(s.InitPIN([]byte("1234")))
	h.must(s.Logout())
	h.must(s.Login(cryptoki.CKU_USER, []byte("1234")))
	h.p256(s)
	h.must(h.CloseSession(s.Handle()))
	want(t, h.InitToken(slotFree, []byte("wrong"), "again"), cryptoki.CKR_PIN_INCORRECT)
	h.must(h.InitToken(slotFree, []byte("so-pin"), "again"))
	s = h.open(slotFree, ro)
	if found := find(t, s); len(found) != 0 {
		t.Errorf("found %v after C_InitToken", found)
	}
}

func TestTicketIsRenewed(t *testing.T) {
	d := newDaemon(t)
	d.lifetime = 2 * time.Second
	h := newHost(t, d, "")
	s := h.user()
	_, private := h.p256(s)
	for deadline := time.Now().Add(5 * time.Second); d.count("RenewTicket") == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the ticket was not renewed at half its life")
		}
	}
	// The old ticket is worthless now.
	time.Sleep(20 * time.Millisecond)
	h.must(s.SignInit(cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, private))
	_, _, err := s.Sign(make([]byte, 32), 64)
	h.must(err)
}

func TestRefusedTicketEndsTheLogin(t *testing.T) {
	h := start(t)
	s := h.user()
	_, private := h.p256(s)
	h.d.mu.Lock()
	clear(h.d.tokens["uid-a"].tickets)
	h.d.mu.Unlock()
	h.must(s.SignInit(cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, private))
	_, _, err := s.Sign(make([]byte, 32), 64)
	want(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
	if state := s.Info().State; state != cryptoki.CKS_RW_PUBLIC_SESSION {
		t.Errorf("state %d", state)
	}
	h.must(s.Login(cryptoki.CKU_USER, []byte(userPIN)))
	h.must(s.SignInit(cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, private))
	_, _, err = s.Sign(make([]byte, 32), 64)
	h.must(err)
}

// TestRefusedTicketOfTheSO: a dead login is noticed at whatever call comes first.
func TestRefusedTicketOfTheSO(t *testing.T) {
	h := start(t)
	s := h.open(slotA, rw)
	h.must(s.Login(cryptoki.CKU_SO, []byte(soPIN)))
	h.d.mu.Lock()
	clear(h.d.tokens["uid-a"].tickets)
	h.d.mu.Unlock()
	want(t, s.InitPIN([]byte("1234")), cryptoki.CKR_USER_NOT_LOGGED_IN)
	h.must(s.Login(cryptoki.CKU_SO, []byte(soPIN)))
	h.must(s.InitPIN([]byte("1234")))
	h.d.mu.Lock()
	clear(h.d.tokens["uid-a"].tickets)
	h.d.mu.Unlock()
	// A search still finds what is public.
	find(t, s)
	if state := s.Info().State; state != cryptoki.CKS_RW_PUBLIC_SESSION {
		t.Errorf("state %d", state)
	}
}

func TestInfoIsConstant(t *testing.T) {
	h := start(t)
	if h.Info() != newHost(t, h.d, "").Info() || h.Info().Cryptoki != (module.Version{Major: 3, Minor: 2}) {
		t.Errorf("info %+v", h.Info())
	}
}

func TestBadConfiguration(t *testing.T) {
	_, err := module.Open("anyhsm: colour=red")
	want(t, err, cryptoki.CKR_ARGUMENTS_BAD)
}
