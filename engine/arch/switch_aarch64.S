/*
 * The context switch of aarch64 (AAPCS64, sections 6.1.1 and 6.1.2: x19 to x28, the frame pointer,
 * the low halves of v8 to v15 and FPCR belong to the caller).
 *
 * A stopped stack, from its saved sp upwards:
 *	+0 x19 .. x28	+80 x29	+88 where to go on	+96 d8 .. d15	+160 FPCR	+168 unused
 */
#if defined(__aarch64__)

	.text

/* In: x0 where to store the stack pointer, x1 the one to load, x30 where to go on later. */
	.globl	whi_switch
	.hidden	whi_switch
	.type	whi_switch, %function
	.p2align 5
whi_switch:
	.cfi_startproc
	.cfi_undefined x30
	hint	#36			/* bti j */
	sub	sp, sp, #176
	stp	x19, x20, [sp, #0]
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	stp	x29, x30, [sp, #80]
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mrs	x9, fpcr
	str	x9, [sp, #160]
	mov	x10, sp
	str	x10, [x0]
	mov	sp, x1
	ldr	x10, [sp, #160]
	/* Writing FPCR is slow, and it hardly ever differs. */
	cmp	x9, x10
	b.ne	2f
1:
	ldp	x19, x20, [sp, #0]
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	add	sp, sp, #176
	br	x30
2:
	msr	fpcr, x10
	b	1b
	.cfi_endproc
	.size	whi_switch, .-whi_switch

/* Where a new context begins: x19 is its function, x20 the argument. Unwinding ends here. */
	.globl	whi_context_entry
	.hidden	whi_context_entry
	.type	whi_context_entry, %function
	.p2align 5
whi_context_entry:
	.cfi_startproc
	.cfi_undefined x30
	hint	#36			/* bti j */
	mov	x0, x20
	mov	x29, #0
	mov	x30, #0
	blr	x19
	brk	#1
	.cfi_endproc
	.size	whi_context_entry, .-whi_context_entry

/* Branch targets are marked. */
	.section .note.gnu.property, "a"
	.p2align 3
	.long	4
	.long	16
	.long	5
	.asciz	"GNU"
	.long	0xc0000000
	.long	4
	.long	1
	.long	0

#endif

	.section .note.GNU-stack, "", %progbits
